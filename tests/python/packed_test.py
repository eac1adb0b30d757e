# SPDX-License-Identifier: Apache-2.0
"""compile_packed beside a dense NumPy oracle and JAX's own tables."""

import jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask as jax_masks
import jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info as jax_mask_info
import numpy as np
import pytest

import splashmask
from splashmask import _core

MASKS = {
    "causal()": lambda q, kv: q >= kv,
    "causal(9)": lambda q, kv: q + 9 >= kv,
    "local(40, 7)": lambda q, kv: (q - 40 <= kv) & (kv <= q + 7),
    "full()": lambda q, kv: (q >= 0) & (kv >= 0),
    "stride(16) & causal() | local(3, 0)": lambda q, kv: (q >= kv)
    & (((q - kv) % 16 == 0) | (q - kv <= 3)),
}


def random_ids(rng, batch, length):
    """Runs of a few ids in any order, or tokens of any id; 0 is padding."""
    ids = rng.integers(-2, 6, (batch, length), np.int32)
    for row in ids[: batch // 2]:
        cuts = np.flatnonzero(rng.random(length) < 0.04)
        for begin, end in zip([0, *cuts], [*cuts, length]):
            row[begin:end] = rng.integers(-2, 6)
    return ids


def oracle(ids, mask, block_q, block_kv, pad):
    """bool[q blocks, kv blocks]: which blocks of one sequence must be visited."""
    position = np.arange(len(ids))
    q, kv = position[:, None], position[None]
    visible = MASKS[mask](q, kv) & (ids[:, None] == ids) & ((ids[:, None] != pad) | (q == kv))
    return visible.reshape(len(ids) // block_q, block_q, -1, block_kv).any((1, 3))


def visited(data_next, block_mask, shape, is_dkv, shrunk=True):
    """The blocks that the kernel visits with the tables of one sequence."""
    blocks = np.zeros(shape, bool)
    for row, column in zip(*np.nonzero(block_mask)):
        entry = data_next[row, column]
        assert shrunk or entry == row
        at = (entry, column) if is_dkv else (row, entry)
        assert not blocks[at]
        blocks[at] = True
    return blocks


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("fused", [False, True])
def test_keeps_what_a_dense_oracle_sees(mask, fused):
    rng = np.random.default_rng(0)
    for pad in (0, 3, None):
        ids = random_ids(rng, 6, 192)
        fwd, dkv, q_sequence = _core.compile_packed(
            ids, mask, 16, 24, block_q_dkv=32, block_kv_dkv=8, pad=pad, use_fused_bwd_kernel=fused
        )
        assert q_sequence.dtype == np.int32
        np.testing.assert_array_equal(q_sequence, np.arange(192))
        for i, row in enumerate(ids):
            for (data_next, block_mask), blocks, is_dkv in ((fwd, (16, 24), 0), (dkv, (32, 8), 1)):
                assert data_next.shape == block_mask.shape
                expected = oracle(row, mask, *blocks, pad)
                got = visited(data_next[i, 0], block_mask[i, 0], expected.shape, is_dkv,
                              shrunk=not (is_dkv and fused))
                np.testing.assert_array_equal(expected, got)


@pytest.mark.parametrize("fused", [False, True])
def test_one_document_has_jax_tables(fused):
    length = 256
    ids = np.full((2, length), -7, np.int32)
    mask = jax_masks.MultiHeadMask([jax_masks.CausalMask((length, length))])
    fwd, dkv, _ = _core.compile_packed(ids, "causal()", 32, 16, use_fused_bwd_kernel=fused)
    for (data_next, block_mask), process, shrink in (
        (fwd, jax_mask_info.process_mask, True),
        (dkv, jax_mask_info.process_mask_dkv, not fused),
    ):
        expected, _ = process(mask, (32, 16), shrink_grid=shrink)
        for i in range(2):
            np.testing.assert_array_equal(expected.data_next, data_next[i], strict=True)
            np.testing.assert_array_equal(np.minimum(expected.block_mask, 1), block_mask[i],
                                          strict=True)


def test_errors():
    ids = np.ones((3, 64), np.int32)
    ids[:2] = np.arange(64) // 16
    with pytest.raises(splashmask.Error, match=r"got 2: sequence 2 needs 8, and the whole batch 8"):
        _core.compile_packed(ids, "causal()", 8, 8, width=2)
    with pytest.raises(splashmask.Error, match="fold chunks into the ids"):
        _core.compile_packed(ids, "chunked_causal(8)", 8, 8)
    with pytest.raises(TypeError):
        _core.compile_packed(ids.astype(np.float32), "causal()", 8, 8)
