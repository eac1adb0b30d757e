# SPDX-License-Identifier: Apache-2.0
"""The mask classes: JAX's names, arguments, cells and mistakes; values that are equal, hashed,
printed, pickled."""

import pickle
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks

import splashmask as sm

SHAPE = (12, 20)
DENSE = np.random.default_rng(0).random(SHAPE) < 0.5
POSITIONS = np.random.default_rng(1).permutation(12)


def both(make):
    """The same calls on our classes and on JAX's."""
    return make(sm), make(jax_masks)


CLASSES = [
    lambda m: m.FullMask(SHAPE),
    lambda m: m.CausalMask(SHAPE),
    lambda m: m.CausalMask(SHAPE, 3),
    lambda m: m.CausalMask(shape=SHAPE, offset=-5, shard_count=2),
    lambda m: m.LocalMask(SHAPE, (3, 2), 0),
    lambda m: m.LocalMask(SHAPE, (None, 2), 4, shard_count=1),
    lambda m: m.LocalMask(SHAPE, window_size=(1, None), offset=-2),
    lambda m: m.LocalMask(SHAPE, (None, None), 7),
    lambda m: m.ChunkedCausalMask(SHAPE, 5),
    lambda m: m.ChunkedCausalMask(SHAPE, chunk_size=64, shard_count=1),
    lambda m: m.NumpyMask(DENSE),
    lambda m: m.CausalMask(SHAPE) & m.LocalMask(SHAPE, (4, 4), 0),
    lambda m: (m.NumpyMask(DENSE) | m.CausalMask(SHAPE)) & m.FullMask(SHAPE),
    lambda m: m.LogicalOr(m.CausalMask(SHAPE), m.LogicalAnd(m.FullMask(SHAPE), m.NumpyMask(DENSE))),
]
SLICES = [(slice(0, 12), slice(0, 20)), (slice(None), slice(None)), (slice(3, 7), slice(5, None)),
          (slice(None, 1), slice(19, 20)), (slice(4, 4), slice(2, 9))]


@pytest.mark.parametrize("make", CLASSES)
@pytest.mark.parametrize("index", SLICES)
def test_cells_are_jax_s(make, index):
    ours, theirs = both(make)
    assert ours.shape == theirs.shape
    want = theirs[index]
    got = ours[index]
    assert got.dtype == want.dtype and got.shape == want.shape
    np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize("make", CLASSES)
def test_from_jax_is_the_same_mask(make):
    ours, theirs = both(make)
    converted = sm.from_jax(theirs)
    assert converted == ours and type(converted) is type(ours)
    assert sm.from_jax(ours) is ours
    many = sm.from_jax(jax_masks.MultiHeadMask([theirs, jax_masks.FullMask(SHAPE)]))
    assert many == sm.MultiHeadMask([ours, sm.FullMask(SHAPE)])


def test_attributes_are_jax_s():
    for make, names in [
        (lambda m: m.CausalMask(SHAPE, 4), ["offset"]),
        (lambda m: m.LocalMask(SHAPE, (4, None), 2), ["offset", "window_size"]),
        (lambda m: m.ChunkedCausalMask(SHAPE, 4), ["chunk_size"]),
    ]:
        ours, theirs = both(make)
        for name in names:
            assert getattr(ours, name) == getattr(theirs, name)
        np.testing.assert_array_equal(ours.q_sequence, theirs.q_sequence)
        assert ours.q_sequence.dtype == theirs.q_sequence.dtype
    both_ = sm.CausalMask(SHAPE) & sm.FullMask(SHAPE)
    assert both_.left == sm.CausalMask(SHAPE) and both_.right == sm.FullMask(SHAPE)
    np.testing.assert_array_equal(sm.NumpyMask(DENSE).array, DENSE)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int8, np.uint16])
def test_assigned_q_sequence(dtype):
    ours, theirs = both(lambda m: m.CausalMask(SHAPE, 1))
    before = ours & sm.FullMask(SHAPE)
    ours.q_sequence = theirs.q_sequence = POSITIONS.astype(dtype)
    np.testing.assert_array_equal(ours[:, :], theirs[:, :])
    np.testing.assert_array_equal(ours.q_sequence, POSITIONS)
    assert ours.q_sequence.dtype == dtype
    assert ours.offset == 1 and type(ours) is sm.CausalMask
    assert before == sm.CausalMask(SHAPE, 1) & sm.FullMask(SHAPE), "an expression keeps its value"
    assert sm.from_jax(theirs) == ours
    assert ours == sm.reorder(sm.CausalMask(SHAPE, 1), POSITIONS.astype(dtype))
    ours.q_sequence = np.arange(12, dtype=np.int32)
    assert ours == sm.CausalMask(SHAPE, 1)


def test_an_assigned_q_sequence_is_a_copy():
    positions = POSITIONS.copy()
    mask = sm.CausalMask(SHAPE)
    mask.q_sequence = positions
    want = mask[:, :]
    positions[:] = 0
    np.testing.assert_array_equal(mask[:, :], want)


OURS = [
    (sm.empty(SHAPE), lambda q, kv: (q < 0) & (kv < 0), "empty()"),
    (sm.prefix(SHAPE, 4), lambda q, kv: (kv < 4) & (q >= 0), "prefix(4)"),
    (sm.q_range(SHAPE, 2, 5), lambda q, kv: (2 <= q) & (q < 5) & (kv >= 0), "q_range(2, 5)"),
    (sm.kv_range(SHAPE, 2, 5), lambda q, kv: (2 <= kv) & (kv < 5) & (q >= 0), "kv_range(2, 5)"),
    (sm.stride(SHAPE, 3, 1), lambda q, kv: (q - kv) % 3 == 1, "stride(3, 1)"),
    (sm.documents(SHAPE, [5, 0, 4]),
     lambda q, kv: ((q < 5) & (kv < 5)) | ((5 <= q) & (q < 9) & (5 <= kv) & (kv < 9)),
     "documents([5, 0, 4])"),
    (~sm.CausalMask(SHAPE), lambda q, kv: q < kv, "~causal()"),
    (sm.CausalMask(SHAPE) ^ sm.prefix(SHAPE, 4), lambda q, kv: (q >= kv) ^ (kv < 4),
     "causal() ^ prefix(4)"),
    (sm.CausalMask(SHAPE) - sm.prefix(SHAPE, 4), lambda q, kv: (q >= kv) & ~(kv < 4),
     "causal() - prefix(4)"),
    (sm.zigzag(sm.CausalMask(SHAPE), 3),
     lambda q, kv: np.array([0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7])[q] >= kv,
     "reorder(causal(), q=zigzag(3))"),
    (sm.striped(sm.CausalMask(SHAPE), 4),
     lambda q, kv: np.array([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])[q] >= kv,
     "reorder(causal(), q=striped(4))"),
]


@pytest.mark.parametrize("mask, cells, text", OURS, ids=[text for _, _, text in OURS])
def test_masks_that_jax_lacks(mask, cells, text):
    want = np.broadcast_to(cells(np.arange(12)[:, None], np.arange(20)[None, :]), SHAPE)
    np.testing.assert_array_equal(mask[:, :], want)
    assert str(mask) == text
    assert sm.parse(text, SHAPE) == mask


def test_segments():
    q, kv = np.array([-3, -3, 7, 0, 7]), np.array([7, 0, -3], np.int8)
    mask = sm.segments(q, kv, pad=0)
    np.testing.assert_array_equal(mask[:, :], (q[:, None] == kv) & (q != 0)[:, None])
    q[:] = 0
    assert mask[:, :].any(), "the ids are a copy"
    assert sm.segments(np.arange(5)).shape == (5, 5)
    with pytest.raises(sm.Error, match="rank 1"):
        sm.segments(np.zeros((2, 2), int))


def test_blocks():
    bits = np.array([[True, False], [False, True]])
    mask = sm.blocks((7, 8), bits, 4)
    np.testing.assert_array_equal(mask[:, :], np.kron(bits, np.ones((4, 4), bool))[:7])


def test_text_with_arrays():
    ids = np.arange(12) // 4
    mask = sm.parse('causal() & segments("ids.npy")', (12, 12), arrays={"ids.npy": ids})
    assert mask == sm.CausalMask((12, 12)) & sm.segments(ids)
    assert str(mask) == 'causal() & segments("ids.npy")'
    heads = sm.parse_heads("[causal() * 2, full()]", SHAPE)
    assert heads.shape == (3, 12, 20) and str(heads) == "[causal() * 2, full()]"
    assert sm.parse_heads("causal()", SHAPE, 2) == sm.MultiHeadMask([sm.CausalMask(SHAPE)] * 2)


PICKLED = [make(sm) for make in CLASSES] + [mask for mask, _, _ in OURS] + [
    sm.segments(np.arange(12), np.arange(20), pad=3),
    sm.blocks((7, 8), np.eye(2, dtype=bool), 4),
    sm.reorder(sm.NumpyMask(DENSE), POSITIONS),
]


@pytest.mark.parametrize("mask", PICKLED, ids=str)
def test_pickle_equality_hash(mask):
    again = pickle.loads(pickle.dumps(mask))
    assert again == mask and hash(again) == hash(mask) and type(again) is type(mask)
    np.testing.assert_array_equal(again[:, :], mask[:, :])
    heads = sm.MultiHeadMask([mask, mask])
    assert pickle.loads(pickle.dumps(heads)) == heads
    assert sum(mask == other for other in PICKLED) == 1
    assert mask != "another thing"


def test_multi_head_masks():
    causal, full = sm.CausalMask(SHAPE), sm.FullMask(SHAPE)
    heads = sm.MultiHeadMask([causal, full, jax_masks.CausalMask(SHAPE)])
    theirs = jax_masks.MultiHeadMask([jax_masks.CausalMask(SHAPE), jax_masks.FullMask(SHAPE),
                                      jax_masks.CausalMask(SHAPE)])
    assert heads.shape == theirs.shape and heads.masks[2] == causal
    for index in [(1, slice(2, 5), slice(0, 7)), (slice(0, 3), slice(2, 5), slice(0, 7))]:
        np.testing.assert_array_equal(heads[index], theirs[index])
    assert heads == sm.MultiHeadMask((causal, full, causal))
    assert hash(heads) == hash(sm.MultiHeadMask((causal, full, causal)))


def raises_as(theirs, make):
    """Both raise; ours is an Error and of JAX's type."""
    with pytest.raises(theirs):
        make(jax_masks)
    with pytest.raises(theirs) as caught:
        make(sm)
    assert isinstance(caught.value, sm.Error)
    return str(caught.value)


MISTAKES = [
    (ValueError, lambda m: m.CausalMask(SHAPE) & m.FullMask((3, 3)), "masks of one shape"),
    (ValueError, lambda m: m.CausalMask(SHAPE) | m.FullMask((3, 3)), "masks of one shape"),
    (ValueError, lambda m: m.LogicalAnd(m.CausalMask(SHAPE), m.FullMask((3, 3))), "masks of one shape"),
    (ValueError, lambda m: m.MultiHeadMask([]), "at least one mask"),
    (ValueError, lambda m: m.MultiHeadMask([m.FullMask(SHAPE), m.FullMask((3, 3))]),
     r"one shape (12, 20), got (3, 3) for head 1"),
    (ValueError, lambda m: m.MultiHeadMask([m.MultiHeadMask([m.FullMask(SHAPE)])]), "MultiHeadMask"),
    (ValueError, lambda m: m.ChunkedCausalMask(SHAPE, 0), "at least 1"),
    (ValueError, lambda m: m.CausalMask(SHAPE, shard_count=5), "shard_count squared (25)"),
    (ValueError, lambda m: m.NumpyMask(np.zeros(3, bool)), "bool array of rank 2, got bool of rank 1"),
    (ValueError, lambda m: m.NumpyMask(np.zeros((3, 3))), "got float64 of rank 2"),
    (NotImplementedError, lambda m: bool(m.CausalMask(SHAPE)), "`&`"),
    (NotImplementedError, lambda m: m.CausalMask(SHAPE) and 1, "`&`"),
    (NotImplementedError, lambda m: m.CausalMask(SHAPE)[3, 4], "slices"),
    (NotImplementedError, lambda m: m.FullMask(SHAPE)[0:3, 4], "slices"),
    (NotImplementedError, lambda m: m.CausalMask(SHAPE)[0:3, 0:4, 0:1], "two slices"),
    (NotImplementedError, lambda m: m.MultiHeadMask([m.FullMask(SHAPE)])[0:1, 0:4], "two slices"),
]


@pytest.mark.parametrize("theirs, make, text", MISTAKES, ids=[text for _, _, text in MISTAKES])
def test_mistakes_raise_jax_s_types(theirs, make, text):
    assert text in raises_as(theirs, make)


@pytest.mark.parametrize("make, text", [
    (lambda: sm.CausalMask(5), "a shape (q_len, kv_len) of two integers, got 5"),
    (lambda: sm.CausalMask((5, 5, 5)), "two integers"),
    (lambda: sm.CausalMask((5, 2.5)), "two integers"),
    (lambda: sm.CausalMask((5, 5), 1.5), "offset to be an integer, got 1.5"),
    (lambda: sm.LocalMask((5, 5), 3, 0), "window_size to be (left, right), got 3"),
    (lambda: sm.CustomMask((5, 5), 3), "mask_function to be callable, got 3"),
    (lambda: sm.from_jax("causal()"), "a mask of shape (q_len, kv_len), got 'causal()'"),
    (lambda: sm.parse(3, SHAPE), "expected text, got 3"),
    (lambda: sm.Mask(), "one of the mask classes"),
])
def test_wrong_types_are_type_errors(make, text):
    with pytest.raises(TypeError) as caught:
        make()
    assert isinstance(caught.value, sm.Error) and text in str(caught.value)


@pytest.mark.parametrize("make, code, text", [
    (lambda: sm.parse("causal(", SHAPE), "Syntax", "column"),
    (lambda: sm.parse("[causal(), full()]", SHAPE), "InvalidArgument", "a list of 2"),
    (lambda: sm.parse('dense("m.npy")', SHAPE), "NotFound", 'named "m.npy", got none'),
    (lambda: sm.parse('dense("m.npy")', SHAPE, arrays={"o.npy": DENSE}), "NotFound", "got o.npy"),
    (lambda: sm.CausalMask((0, 5)), "InvalidArgument", "q_len"),
    (lambda: sm.stride(SHAPE, 3, 3), "InvalidArgument", "phase"),
    (lambda: sm.documents(SHAPE, [11, 3]), "InvalidArgument", "sum to at most 12"),
    (lambda: sm.segments(np.zeros(4, np.float32)), "InvalidArgument", "q ids to be integers, got float32"),
    (lambda: sm.segments(np.zeros(4, int), np.array([1, "a"], object)), "InvalidArgument",
     "kv ids to be integers, got object"),
    (lambda: sm.CausalMask(SHAPE, 2**63), "InvalidArgument", "offset in 64 bits"),
    (lambda: sm.CausalMask((2**70, 4)), "InvalidArgument", "q_len in 64 bits"),
    (lambda: sm.documents(SHAPE, 5), "InvalidArgument", "a list of lengths, got 5"),
    (lambda: sm.parse_heads(3, SHAPE), "InvalidArgument", "expected text, got 3"),
    (lambda: sm.zigzag(sm.MultiHeadMask([sm.CausalMask(SHAPE)]), 2), "InvalidArgument",
     "expected one mask, got <MultiHeadMask"),
    (lambda: sm.MultiHeadMask(sm.CausalMask(SHAPE)), "InvalidArgument", "a list of masks, got one"),
    (lambda: sm.compile(sm.CausalMask(SHAPE), block_q=2**63), "InvalidArgument", "in 64 bits"),
    (lambda: sm.compile(sm.CausalMask(SHAPE), block_q=4, block_kv=5, passes=None), "InvalidArgument",
     "passes out of"),
    (lambda: sm.compile(sm.CausalMask(SHAPE), block_q=4, block_kv=5, passes=("dq",),
                        use_fused_bwd_kernel=True), "InvalidArgument", "passes beside dq"),
    (lambda: sm.compile(sm.CausalMask(SHAPE), block_q=4, block_kv=5).save("a\0b"), "InvalidArgument",
     "a path without a zero byte"),
    (lambda: sm.load(3), "InvalidArgument", "expected a path, got 3"),
    (lambda: sm.reorder(sm.NumpyMask(DENSE), POSITIONS + 1), "InvalidArgument", "[0, 12)"),
    (lambda: sm.CausalMask(SHAPE)[0:13, 0:1], "InvalidArgument", "inside 0..12, got 0..13"),
    (lambda: sm.CausalMask(SHAPE)[-1:3, 0:1], "InvalidArgument", "inside 0..12, got -1..3"),
])
def test_errors_carry_a_code(make, code, text):
    with pytest.raises(sm.Error) as caught:
        make()
    assert caught.value.code == code and text in str(caught.value)


def test_import_is_quick_and_imports_no_array_library():
    program = ("import sys, splashmask; splashmask.CausalMask((4, 4)) & splashmask.empty((4, 4)); "
               "print(sorted({'numpy', 'jax', 'h5py'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_heads_from_anything_that_yields_masks():
    assert sm.MultiHeadMask(sm.CausalMask(SHAPE) for _ in range(2)).shape == (2, *SHAPE)


def test_positions_make_an_array_mask_another_kind():
    mask = sm.NumpyMask(DENSE)
    mask.q_sequence = np.arange(SHAPE[0])[::-1]
    np.testing.assert_array_equal(mask[:, :], DENSE[::-1])
    assert not isinstance(mask, sm.NumpyMask) and not hasattr(mask, "array")


def test_ours_and_theirs_combine_either_way_round():
    ours, theirs = sm.LocalMask(SHAPE, (3, None), 0), jax_masks.CausalMask(SHAPE)
    assert ours & theirs == ours & sm.CausalMask(SHAPE)
    with pytest.raises(TypeError):
        ours & DENSE


HUGE = (2**30, 2**31 - 2, 2**31, 2**40, 2**62)


@pytest.mark.parametrize("make", [
    *(lambda n=n: sm.CausalMask(SHAPE, n) for m in HUGE for n in (m, -m)),
    *(lambda n=n: sm.LocalMask(SHAPE, (n, 1), 0) for n in HUGE),
    *(lambda n=n: sm.LocalMask(SHAPE, (1, n), 2) for n in HUGE),
    *(lambda n=n: sm.LocalMask(SHAPE, (n, n), -n) for n in HUGE),
    *(lambda n=n: sm.ChunkedCausalMask(SHAPE, n) for n in HUGE),
    *(lambda n=n: sm.stride(SHAPE, n, n - 2) for n in HUGE),
    *(lambda n=n: sm.stride(SHAPE, n, 3) for n in HUGE),
    *(lambda n=n: sm.prefix(SHAPE, n) for n in HUGE),
    *(lambda n=n: sm.q_range(SHAPE, 3, n) - sm.kv_range(SHAPE, -n, 4) for n in HUGE),
])
def test_functions_of_large_parameters_do_not_wrap(make):
    """On int32 positions, which the kernel has, NumPy's and JAX's."""
    mask = make()
    info, function = sm.process_mask(sm.MultiHeadMask([mask]), (SHAPE[0], SHAPE[1]), simplify=True)
    q, kv = np.arange(SHAPE[0], dtype=np.int32)[:, None], np.arange(SHAPE[1], dtype=np.int32)[None]
    for positions in ((q, kv), (jnp.asarray(q), jnp.asarray(kv))):
        cells = np.broadcast_to(np.asarray(function(*positions)), SHAPE)
        np.testing.assert_array_equal(cells, mask[:, :])
