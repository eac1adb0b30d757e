# SPDX-License-Identifier: Apache-2.0
"""simplify: masks, what the kernel computes of them, and what it saved."""

import random

import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks

import splashmask as sm

SHAPE = (48, 64)


def test_a_mask_and_heads():
    mask = sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (100, None), 0)
    assert sm.simplify(mask) == sm.CausalMask(SHAPE)
    assert isinstance(sm.simplify(mask), sm.CausalMask)
    assert sm.simplify(jax_masks.CausalMask(SHAPE) & jax_masks.FullMask(SHAPE)) == sm.CausalMask(SHAPE)
    heads = sm.simplify(sm.MultiHeadMask([mask, mask, ~sm.empty(SHAPE)]))
    assert isinstance(heads, sm.MultiHeadMask)
    assert str(heads) == "[causal() * 2, full()]"
    assert str(mask) == "causal() & local(100, none)", "as it was"


def random_text(draw, depth):
    """Of positions alone."""
    if depth == 0 or draw.random() < 0.2:
        a, b, step = draw.randint(-70, 70), draw.randint(0, 70), draw.randint(1, 70)
        return draw.choice([
            f"causal({a})", f"local({b}, {step})", f"local(none, {a}, {b})", f"local({b}, none, {a})",
            f"chunked_causal({step})", f"prefix({a})", f"q_range({a}, {b})", f"kv_range({a}, {b})",
            f"stride({step}, {b % step})", "full()", "causal(3000000000)", "stride(4000000000, 7)"
        ])
    if draw.random() < 0.2:
        return f"~({random_text(draw, depth - 1)})"
    left, right = random_text(draw, depth - 1), random_text(draw, depth - 1)
    return f"({left}) {draw.choice('&|^-')} ({right})"


@pytest.mark.parametrize("seed", range(150))
def test_the_kernel_computes_the_mask_from_int32_positions(seed):
    draw = random.Random(seed)
    mask = sm.parse(random_text(draw, 4), SHAPE)
    if seed % 3 == 0:
        order = np.arange(SHAPE[0], dtype=np.int32) * draw.choice([1, -1, 1000]) + draw.choice([0, 20])
        mask = sm.reorder(mask, order)
    cells = mask[:, :]
    np.testing.assert_array_equal(sm.simplify(mask)[:, :], cells)
    info, function = sm.process_mask(sm.MultiHeadMask([mask]), (16, 16), simplify=True)
    assert info.partial_mask_blocks is None and info.q_sequence.dtype == np.int32
    q, kv = info.q_sequence[:, None], np.arange(SHAPE[1], dtype=np.int32)[None]
    for positions in ((q, kv), (jnp.asarray(q), jnp.asarray(kv))):
        got = np.broadcast_to(np.asarray(function(*positions)), SHAPE)
        np.testing.assert_array_equal(got, cells)


def test_a_simplified_plan_is_proven_and_kept(tmp_path):
    mask = sm.MultiHeadMask([sm.parse("causal() & local(100, none)", SHAPE), sm.CausalMask(SHAPE)])
    plan = sm.compile(mask, block_q=16, block_kv=16, simplify=True)
    assert plan.mask == mask, "as it was written"
    assert plan.fwd.mask_function == sm.compile(sm.CausalMask(SHAPE), block_q=16,
                                                block_kv=16).fwd.mask_function
    assert plan.verify() is None
    plan.save(tmp_path / "plan.h5")
    loaded = sm.load(tmp_path / "plan.h5")
    assert loaded.mask == mask and loaded.simplify and loaded.verify() is None


def test_savings():
    plan = sm.compile(sm.parse("causal() & full()", SHAPE), block_q=16, block_kv=16, passes=("fwd",),
                      simplify=True)
    # Blocks on the diagonal are all alike: 16 rows of 16 bits.
    assert plan.savings() == {
        "before": {"masks": 1, "nodes": 3, "passes": {
            "fwd": {"computed": False, "partial_blocks": 1, "partial_bytes": 32}}},
        "after": {"masks": 1, "nodes": 1, "passes": {
            "fwd": {"computed": True, "partial_blocks": 0, "partial_bytes": 0}}},
    }
    plain = sm.compile(sm.CausalMask(SHAPE), block_q=16, block_kv=16)
    with pytest.raises(sm.Error) as error:
        plain.savings()
    assert str(error.value) == "[savings] expected a plan compiled with simplify, got one without"
