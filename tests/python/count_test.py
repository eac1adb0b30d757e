# SPDX-License-Identifier: Apache-2.0
"""splashmask.count against cells."""

import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks

import splashmask as sm

S = (96, 130)
MASKS = {
    "causal": sm.CausalMask(S, 20),
    "composed": (sm.CausalMask(S, 50) & ~sm.stride(S, 3)) | sm.prefix(S, 7),
    "documents": sm.documents(S, [10, 40, 30]),
    "dense": sm.NumpyMask(np.random.default_rng(0).random(S) < 0.4),
    "zigzag": sm.zigzag(sm.LocalMask(S, (9, 4), 3), 4),
    "custom": sm.CustomMask(S, lambda q, kv: (q * kv) % 5 == 1),
    "jax_s": jax_masks.CausalMask(S, 3),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_like_cells(mask):
    cells = np.asarray(mask[:, :])
    assert sm.count(mask) == cells.sum() and isinstance(sm.count(mask), int)
    assert sm.count(mask, q=(3, 70), kv=(20, 21)) == cells[3:70, 20:21].sum()
    rows = sm.count(mask, rows=True, kv=(5, 99), threads=2)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(rows, cells[:, 5:99].sum(1))
    assert sm.count(mask, q=(5, 5)) == 0 and sm.count(mask, q=(5, 5), rows=True).shape == (0,)


def test_heads():
    masks = [MASKS["causal"], MASKS["documents"], MASKS["causal"]]
    mask = sm.MultiHeadMask(masks)
    counts = sm.count(mask)
    assert counts.dtype == np.int64 and counts.tolist() == [sm.count(one) for one in masks]
    np.testing.assert_array_equal(sm.count(mask, rows=True, q=(2, 9)),
                                  [sm.count(one, rows=True, q=(2, 9)) for one in masks])
    jax_s = jax_masks.MultiHeadMask([jax_masks.FullMask(S), MASKS["jax_s"]])
    assert sm.count(jax_s).tolist() == [S[0] * S[1], sm.count(MASKS["jax_s"])]


def test_a_million_positions():
    n = 2**20
    assert sm.count(sm.CausalMask((n, n))) == n * (n + 1) // 2


def test_what_cannot_be_counted():
    with pytest.raises(sm.Error, match=r"\[count\] expected a range of kv inside 0..130, got 0..131"):
        sm.count(MASKS["causal"], kv=(0, 131))
    with pytest.raises(TypeError, match="expected q to be two integers"):
        sm.count(MASKS["causal"], q=5)
    with pytest.raises(sm.Error):
        sm.count("causal()")


def test_plans_are_counted_by_their_mask():
    mask = sm.MultiHeadMask([sm.CausalMask((64, 64))] * 2)
    assert sm.count(sm.compile(mask, block_q=64, block_kv=64)).tolist() == [2080, 2080]
    with pytest.raises(TypeError, match=r"\[count\] expected q to be two integers, got 3"):
        sm.count(mask, q=3)
