# SPDX-License-Identifier: Apache-2.0
"""make_splash_from_plan: the kernel of a stored plan is the one that its mask makes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import splashmask as sm
import splashmask.jax as smj

LENGTH = 512
SHAPE = (LENGTH, LENGTH)
SIZES = dict(block_q=128, block_kv=256, block_q_dkv=256, block_kv_dkv=128)
MASKS = {
    "causal": [sm.CausalMask(SHAPE)] * 4,
    "partial_blocks": [sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (200, None), 0)] * 4,
    "of_each_head": [sm.CausalMask(SHAPE), sm.LocalMask(SHAPE, (99, 0), 0), sm.FullMask(SHAPE),
                     sm.CausalMask(SHAPE)],
}


def stored(mask, path, **options):
    sm.compile(sm.MultiHeadMask(mask), **SIZES, **options).save(path)
    return sm.load(path)


def jax_block_sizes(fused):
    dq = {} if fused else dict(block_q_dq=128, block_kv_dq=256)
    return smj.BlockSizes(**SIZES, block_kv_compute=128, use_fused_bwd_kernel=fused, **dq)


def same_leaves(a, b):
    a, b = jax.tree_util.tree_flatten(a), jax.tree_util.tree_flatten(b)
    assert a[1] == b[1]
    for one, other in zip(a[0], b[0], strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", MASKS)
def test_tables_and_options_are_those_of_the_mask(name, fused, tmp_path):
    plan = stored(MASKS[name], tmp_path / "plan.h5", head_shards=2, q_seq_shards=2,
                  use_fused_bwd_kernel=fused)
    from_plan = smj.make_splash_from_plan(plan, block_kv_compute=128, attn_logits_soft_cap=9.0)
    from_mask = smj.make_splash_mha(sm.MultiHeadMask(MASKS[name]), head_shards=2, q_seq_shards=2,
                                    block_sizes=jax_block_sizes(fused), attn_logits_soft_cap=9.0)
    same_leaves(from_plan, from_mask)


def test_gradients(tmp_path):
    plan = stored(MASKS["partial_blocks"], tmp_path / "plan.h5")
    q, k, v = (jnp.asarray(np.random.default_rng(seed).standard_normal((4, LENGTH, 64)), jnp.float32)
               for seed in range(3))
    from_mask = smj.make_splash_mha_single_device(sm.MultiHeadMask(MASKS["partial_blocks"]),
                                                  block_sizes=jax_block_sizes(False))

    def loss(kernel, q, k, v):
        return (kernel(q, k, v)**2).sum()

    for a, b in zip(jax.grad(loss, (1, 2, 3))(smj.make_splash_from_plan(plan), q, k, v),
                    jax.grad(loss, (1, 2, 3))(from_mask, q, k, v)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_shard_has_its_own_rows(tmp_path):
    """What the shards compute, put together, is what one device computes."""
    mask = MASKS["of_each_head"]
    plan = stored(mask, tmp_path / "plan.h5", head_shards=2, q_seq_shards=2)
    q, k, v = (jnp.asarray(np.random.default_rng(seed).standard_normal((4, LENGTH, 64)), jnp.float32)
               for seed in range(3))
    whole = smj.make_splash_mha_single_device(sm.MultiHeadMask(mask),
                                              block_sizes=jax_block_sizes(False))(q, k, v)
    for head in range(2):
        for row in range(2):
            kernel = smj.make_splash_from_plan(plan, shard=(head, row))
            heads, rows = slice(2 * head, 2 * head + 2), slice(256 * row, 256 * row + 256)
            np.testing.assert_allclose(kernel(q[heads, rows], k[heads], v[heads]), whole[heads, rows],
                                       rtol=1e-5, atol=1e-5)


def test_refusals(tmp_path):
    plan = stored(MASKS["causal"], tmp_path / "plan.h5", passes=("dq",))
    with pytest.raises(sm.Error, match=r"^\[kernel\] expected a plan with a forward pass$"):
        smj.make_splash_from_plan(plan)
    plan = stored(MASKS["causal"], tmp_path / "plan.h5", head_shards=2)
    with pytest.raises(sm.Error, match=r"^\[kernel\] expected a shard of \(2, 1\), got \(0, 1\)$"):
        smj.make_splash_from_plan(plan, shard=(0, 1))
    with pytest.raises(sm.Error, match=r"^\[kernel\] expected block_kv_compute \(100\) to be a multiple"):
        smj.make_splash_from_plan(plan, block_kv_compute=100)
    with pytest.raises(TypeError, match=r"\[kernel\] expected a Plan"):
        smj.make_splash_from_plan("plan.h5")
