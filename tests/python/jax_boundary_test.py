# SPDX-License-Identifier: Apache-2.0
"""Equality with JAX where a table's dtype changes, and where JAX's equality of masks is subtle."""

import jax_reference
import numpy as np
import pytest
from comparison import assert_same_info, compare, ours
from generated import Tally
from mask_cases import Case, MaskBuilder, heads_text

import splashmask

_INT8_EDGES = [127, 128, 129]
_EDGES = _INT8_EDGES + [32767, 32768, 32769]


def compare_one(builder, heads, block, **options):
    tally = Tally()
    text = heads_text(heads, runs=True)
    compare(Case(builder.shape, tuple(heads), text, builder.arrays, block, **options), tally)
    assert tally.compared == 1, tally.skipped


@pytest.mark.parametrize("shrink_grid", [True, False])
@pytest.mark.parametrize("count", _INT8_EDGES)
def test_block_indices_at_the_edge_of_a_dtype(count, shrink_grid):
    """The largest entry of data_next is count - 1: a kv block for fwd, a q block for dkv."""
    for shape in [(1, count), (count, 1)]:
        builder = MaskBuilder(shape)
        compare_one(builder, [builder.full()], (1, 1), shrink_grid=shrink_grid)


@pytest.mark.parametrize("count", _EDGES)
def test_unreached_blocks_do_not_widen_a_dtype(count):
    """The last kv block is not visible, so that count - 2 is the largest entry for fwd."""
    builder = MaskBuilder((2, count))
    seen = np.ones(builder.shape, bool)
    seen[:, -1] = False
    seen[0, 0] = False
    compare_one(builder, [builder.dense(seen)], (2, 1))


@pytest.mark.parametrize("count", _INT8_EDGES)
def test_q_indices_count_from_their_shard(count):
    builder = MaskBuilder((2 * count, 2))
    compare_one(builder, [builder.causal()], (1, 2), q_seq_shards=2)


@pytest.mark.parametrize("count", _EDGES)
def test_partial_ids_at_the_edge_of_a_dtype(count):
    """`count` different partial blocks on a grid whose sides are much smaller than that."""
    q_blocks = 8 if count < 200 else 128
    kv_blocks = -(-count // q_blocks) + 1
    builder = MaskBuilder((q_blocks, 16 * kv_blocks))
    patterns = np.full(q_blocks * kv_blocks, 2**16 - 1, np.uint16)
    where = np.random.default_rng(count).permutation(len(patterns))[:count]
    patterns[where] = np.arange(1, count + 1)
    bits = np.unpackbits(patterns.astype("<u2").view(np.uint8), bitorder="little")
    mask = builder.dense(bits.reshape(builder.shape).astype(bool))
    compare_one(builder, [mask], (1, 16))
    if count in _INT8_EDGES:
        compare_one(builder, [mask, builder.full()], (1, 16), shrink_grid=False)


def test_equal_positions_of_another_width_are_another_mask():
    """JAX hashes q_sequence's bytes: int32 and int64 positions make two masks."""
    builder = MaskBuilder((12, 12))
    positions = np.arange(12)[::-1]
    heads = []
    for dtype in (np.int32, np.int64, np.int32):
        q = positions.astype(dtype)
        heads.append(builder.causal(2, q, f'"{builder.add_array("q", q)}"'))
    compare_one(builder, heads, (3, 4), q_seq_shards=2)
    compare_one(builder, [heads[0], heads[2]], (3, 4), q_seq_shards=2)


@pytest.mark.parametrize("first, second", [(np.int32, np.uint32), (np.uint16, np.int16)])
def test_equal_positions_of_another_sign_are_the_same_mask(first, second):
    """JAX compares q_sequence by value after hashing its bytes; the first head's dtype is kept."""
    builder = MaskBuilder((12, 12))
    heads = []
    for dtype in (first, second):
        q = np.arange(12)[::-1].astype(dtype)
        heads.append(builder.causal(2, q, f'"{builder.add_array("q", q)}"'))
    compare_one(builder, heads, (3, 4))


def test_assigned_identity_is_no_reordering():
    builder = MaskBuilder((8, 8))
    q = np.arange(8, dtype=np.int32)
    heads = [builder.local(2, 1), builder.local(2, 1, 0, q, f'"{builder.add_array("q", q)}"')]
    compare_one(builder, heads, (2, 2))


def test_masks_equal_in_value_alone_are_different():
    builder = MaskBuilder((12, 12))
    a, b = builder.causal(), builder.local(3, 1)
    wide = np.arange(12)
    twins = [
        [builder.causal(), builder.local(None, 0)],
        [builder.causal(), builder.dense(np.tril(np.ones((12, 12), bool)))],
        [builder.combine("&", a, b), builder.combine("&", b, a)],
        [builder.local(None, None), builder.full()],
        [builder.local(None, None), builder.local(None, None, 1)],
        [builder.causal(), builder.causal(0, wide, f'"{builder.add_array("q", wide)}"')],
    ]
    for heads in twins:
        for head_shards in (1, 2):
            compare_one(builder, heads, (3, 4), head_shards=head_shards)


def test_dense_masks_are_equal_by_content():
    builder = MaskBuilder((12, 12))
    array = np.tril(np.ones((12, 12), bool), 3)
    heads = [builder.dense(array), builder.dense(array.copy())]
    compare_one(builder, heads, (3, 4))


def test_positions_at_the_ends_of_their_dtype():
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        info = np.iinfo(dtype)
        q = np.array([info.min, info.min + 1, -1, 0, 1, 5, info.max - 1, info.max], dtype)
        builder = MaskBuilder((8, 12))
        name = f'"{builder.add_array("q", q)}"'
        compare_one(builder, [builder.causal(0, q, name)], (2, 3))
        compare_one(builder, [builder.chunked_causal(5, q, name)], (2, 3))
        compare_one(builder, [builder.local(None, None, 7, q, name)], (2, 3))


def test_shrunk_shards_without_partial_blocks_hold_no_mask_next():
    """JAX concatenates nothing there and fails. Blocks on a diagonal, all full or empty."""
    builder = MaskBuilder((8, 8))
    mask = builder.dense(np.kron(np.eye(4, dtype=bool), np.ones((2, 2), bool)))
    case = Case((8, 8), (mask, mask), mask.text, builder.arrays, (2, 2), 2, 2)
    tally = Tally()
    compare(case, tally)
    assert tally.skipped == {jax_reference.NO_PARTIAL_BLOCK: 1}
    info, _ = ours(case, is_dkv=False)
    assert info.mask_next is None and info.partial_mask_blocks is None
    np.testing.assert_array_equal(info.data_next, [[[0], [1], [2], [3]]] * 2)
    np.testing.assert_array_equal(info.block_mask, [[[2], [2], [2], [2]]] * 2)


def test_an_empty_shard_keeps_the_width_of_the_others():
    """JAX asserts there. The second of two q shards sees nothing."""
    builder = MaskBuilder((8, 8))
    seen = np.zeros((8, 8), bool)
    seen[:4, :5] = True
    mask = builder.dense(seen)
    case = Case((8, 8), (mask,), mask.text, builder.arrays, (2, 2), 1, 2)
    tally = Tally()
    compare(case, tally)
    assert tally.skipped == {jax_reference.EMPTY_SHARD: 1}
    fwd, _ = ours(case, is_dkv=False)
    np.testing.assert_array_equal(fwd.block_mask, [[[2, 2, 1], [2, 2, 1], [0] * 3, [0] * 3]])
    np.testing.assert_array_equal(fwd.data_next, [[[0, 1, 2], [0, 1, 2], [0] * 3, [0] * 3]])
    np.testing.assert_array_equal(fwd.mask_next, np.zeros((1, 4, 3)))
    dkv, _ = ours(case, is_dkv=True)
    np.testing.assert_array_equal(dkv.block_mask, [[[2, 2, 1, 0], [2, 2, 1, 0], [0] * 4, [0] * 4]])
    np.testing.assert_array_equal(dkv.data_next, [[[0, 0, 0, 0], [1, 1, 1, 0], [0] * 4, [0] * 4]])


@pytest.mark.parametrize("q_seq_shards", [1, 2])
def test_an_empty_mask_keeps_one_column(q_seq_shards):
    builder = MaskBuilder((8, 12))
    mask = builder.causal(-8)
    case = Case((8, 12), (mask,), mask.text, builder.arrays, (2, 3), 1, q_seq_shards)
    tally = Tally()
    compare(case, tally)
    assert tally.skipped == {jax_reference.EMPTY_SHARD: 1}
    fwd, _ = ours(case, is_dkv=False)
    np.testing.assert_array_equal(fwd.block_mask, np.zeros((1, 4, 1), np.int8))
    dkv, _ = ours(case, is_dkv=True)
    np.testing.assert_array_equal(dkv.block_mask, np.zeros((1, q_seq_shards, 4), np.int8))


def test_threads_do_not_change_the_result():
    builder = MaskBuilder((96, 96))
    text = heads_text([builder.causal(), builder.local(7, 3), builder.causal()], runs=False)
    mask = splashmask.parse_heads(text, (96, 96))
    digests = [
        splashmask.compile(mask, block_q=4, block_kv=3, q_seq_shards=3, threads=threads).digests
        for threads in (1, 2, 8)
    ]
    assert digests[0] == digests[1] == digests[2]
