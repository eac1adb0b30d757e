# SPDX-License-Identifier: Apache-2.0
"""compile_packed beside a dense NumPy oracle and JAX's own tables."""

import jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask as jax_masks
import jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info as jax_mask_info
import numpy as np
import pytest

import splashmask as sm

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
        fwd, dkv = sm.compile_packed(ids, mask, block_q=16, block_kv=24, block_q_dkv=32,
                                     block_kv_dkv=8, pad=pad, use_fused_bwd_kernel=fused)
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
    fwd, dkv = sm.compile_packed(ids, block_q=32, block_kv=16, use_fused_bwd_kernel=fused)
    for (data_next, block_mask), process, shrink in (
        (fwd, jax_mask_info.process_mask, True),
        (dkv, jax_mask_info.process_mask_dkv, not fused),
    ):
        expected, _ = process(mask, (32, 16), shrink_grid=shrink)
        for i in range(2):
            np.testing.assert_array_equal(expected.data_next, data_next[i], strict=True)
            np.testing.assert_array_equal(np.minimum(expected.block_mask, 1), block_mask[i],
                                          strict=True)


def test_shapes_and_dtypes_come_from_options_alone():
    """127 blocks need an int8, 129 an int16, whatever the ids."""
    for length, dtype in ((127 * 8, np.int8), (129 * 8, np.int16)):
        for ids in (np.zeros((2, length), int), np.arange(2 * length).reshape(2, length)):
            tables = sm.compile_packed(ids, "local(20, 0)", block_q=8, block_kv=8)
            assert tables.fwd.data_next.dtype == tables.dkv.data_next.dtype == dtype
            assert tables.fwd.block_mask.dtype == np.int8
            assert tables.fwd.data_next.shape == (2, 1, length // 8, 4)
            assert tables.dkv.data_next.shape == (2, 1, 4, length // 8)
    wide = sm.compile_packed(ids, block_q=8, block_kv=8, downcast_smem_data=False)
    assert wide.fwd.data_next.dtype == np.int32 and wide.fwd.data_next.shape[3] == 129


def test_any_integers_and_any_layout():
    ids = random_ids(np.random.default_rng(1), 4, 192)
    want = sm.compile_packed(ids, block_q=16, block_kv=16)
    mask = sm.CausalMask((192, 192))
    for other in (ids.astype(np.int64), ids.astype(np.int8), np.asfortranarray(ids),
                  np.repeat(ids, 2, axis=1)[:, ::2], ids.tolist()):
        got = sm.compile_packed(other, mask, block_q=16, block_kv=16)
        for a, b in zip((*want.fwd, *want.dkv), (*got.fwd, *got.dkv)):
            np.testing.assert_array_equal(a, b, strict=True)


IDS = np.ones((3, 64), np.int32)
IDS[:2] = np.arange(64) // 16
MISTAKES = [
    (dict(width=2), "got 2: sequence 2 needs 8, and the whole batch 8"),
    (dict(mask="chunked_causal(8)"), "fold chunks into the ids"),
    (dict(mask="causal(-1)"), "itself"),
    (dict(mask=sm.CausalMask((64, 32))), "64"),
    (dict(block_q=24), "block_q (24) to divide the sequence length (64)"),
    (dict(segment_ids=np.ones(64, int)), "shape (batch, length), got (64,)"),
    (dict(segment_ids=np.full((1, 64), 2**31)), "that int32 holds"),
]


@pytest.mark.parametrize("options, text", MISTAKES, ids=[text for _, text in MISTAKES])
def test_mistakes(options, text):
    with pytest.raises(sm.Error) as caught:
        sm.compile_packed(**{"segment_ids": IDS, "block_q": 8, "block_kv": 8, **options})
    assert caught.value.code == "InvalidArgument"
    assert text in str(caught.value)


@pytest.mark.parametrize("options", [dict(segment_ids=IDS.astype(np.float32)), dict(width=1.5),
                                     dict(segment_ids=np.array([["a"]], object)), dict(mask=3)])
def test_wrong_types_are_type_errors(options):
    with pytest.raises(TypeError) as caught:
        sm.compile_packed(**{"segment_ids": IDS, "block_q": 8, "block_kv": 8, **options})
    assert isinstance(caught.value, sm.Error)
