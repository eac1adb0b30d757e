# SPDX-License-Identifier: Apache-2.0
"""Custom functions: JAX's convention, its user-defined masks, a classifier, and what goes wrong."""

import pickle
import threading
import traceback

import jax_reference  # noqa: F401  (sets JAX up for the CPU)
import numpy as np
import pytest
from comparison import assert_same_info
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info

import splashmask as sm

SHAPE = (64, 96)
BLOCK = (16, 16)


def dilated(q, kv):
    return (q >= kv) & ((q - kv) % 3 == 0)


class UserMask(jax_masks._ComputableMask):
    """As a JAX user writes one."""

    def __init__(self, shape, function):
        super().__init__(shape=shape, mask_function=function)

    def __eq__(self, other):
        return (isinstance(other, UserMask) and self.mask_function == other.mask_function and
                np.array_equal(self.q_sequence, other.q_sequence))

    def __hash__(self):
        return hash((self.mask_function, self.q_sequence.tobytes()))


class UnhashableMask(jax_masks.Mask):
    """Its cells alone, by slices."""

    def __init__(self, array):
        self.array = array
        self.seen = []

    shape = property(lambda self: self.array.shape)

    def __getitem__(self, index):
        self.seen.append(index)
        return self.array[index]

    __hash__ = None


def cells(mask):
    return mask[:, :]


def test_a_function_of_broadcast_index_arrays():
    mask = sm.CustomMask(SHAPE, dilated)
    q, kv = np.arange(64)[:, None], np.arange(96)[None, :]
    np.testing.assert_array_equal(cells(mask), dilated(q, kv))
    np.testing.assert_array_equal(cells(mask & sm.prefix(SHAPE, 9)), dilated(q, kv) & (kv < 9))
    column = sm.CustomMask(SHAPE, lambda q, kv: kv < 7)
    np.testing.assert_array_equal(cells(column), np.broadcast_to(kv < 7, SHAPE))


@pytest.mark.parametrize("reordered", [False, True])
@pytest.mark.parametrize("is_dkv", [False, True])
def test_jax_users_masks_get_their_function_back(reordered, is_dkv):
    theirs = UserMask(SHAPE, dilated)
    if reordered:
        theirs.q_sequence = np.random.default_rng(0).permutation(64).astype(np.int32)
    heads = jax_masks.MultiHeadMask([theirs] * 2)
    name = "process_mask_dkv" if is_dkv else "process_mask"
    want, want_function = getattr(jax_info, name)(heads, BLOCK)
    got, function = getattr(sm, name)(heads, BLOCK)
    assert_same_info(want, got)
    assert function is want_function is dilated


def test_other_user_masks_are_asked_for_their_cells():
    array = np.random.default_rng(2).random(SHAPE) < 0.4
    theirs = UnhashableMask(array)
    heads = sm.MultiHeadMask([sm.from_jax(theirs)])
    got, function = sm.process_mask(heads, BLOCK)
    want, _ = jax_info.process_mask(jax_masks.MultiHeadMask([jax_masks.NumpyMask(array)]), BLOCK)
    assert function is None
    assert_same_info(want, got)
    assert len(theirs.seen) == 24, "one call a block"
    scattered = sm.reorder(sm.from_jax(theirs), np.arange(64)[::-1])
    np.testing.assert_array_equal(cells(scattered), array[::-1])


def test_a_changed_mask_function_is_not_the_library_s():
    theirs = jax_masks.CausalMask(SHAPE)
    theirs.mask_function = dilated
    mask = sm.from_jax(theirs)
    assert isinstance(mask, sm.CustomMask) and mask.mask_function is dilated


def test_a_classifier_saves_calls():
    calls = []

    def triangle(q, kv):
        calls.append((q.shape, kv.shape))
        return q >= kv

    def classify(q0, q1, kv0, kv1):
        return True if q0 >= kv1 - 1 else False if q1 - 1 < kv0 else None

    mask = sm.CustomMask((256, 256), triangle, classify=classify)
    info, function = sm.process_mask(sm.MultiHeadMask([mask]), (32, 32), shrink_grid=False)
    want, _ = sm.process_mask(sm.MultiHeadMask([sm.CausalMask((256, 256))]), (32, 32),
                              shrink_grid=False)
    np.testing.assert_array_equal(info.block_mask, want.block_mask)
    assert function is triangle
    assert calls == [((32, 1), (1, 32))] * 8, "the blocks on the diagonal"


def test_partial_blocks_where_heads_differ():
    heads = sm.MultiHeadMask([sm.CustomMask(SHAPE, dilated), sm.FullMask(SHAPE)])
    q, kv = np.arange(64)[:, None], np.arange(96)[None, :]
    dense = sm.MultiHeadMask([sm.NumpyMask(dilated(q, kv)), sm.FullMask(SHAPE)])
    for process in (sm.process_mask, sm.process_mask_dkv):
        assert_same_info(process(dense, BLOCK)[0], process(heads, BLOCK)[0])
    assert sm.compile(heads, block_q=16, block_kv=16).verify() is None


def test_equality_and_pickle():
    assert sm.CustomMask(SHAPE, dilated) == sm.CustomMask(SHAPE, dilated)
    assert hash(sm.CustomMask(SHAPE, dilated)) == hash(sm.CustomMask(SHAPE, dilated))
    assert sm.CustomMask(SHAPE, dilated) != sm.CustomMask(SHAPE, lambda q, kv: q >= kv)
    assert "dilated" in str(sm.CustomMask(SHAPE, dilated))
    with pytest.raises(sm.Error, match="a text form, got the custom function dilated"):
        pickle.dumps(sm.CustomMask(SHAPE, dilated))


def process(function, **options):
    mask = sm.CustomMask(SHAPE, function, **options)
    return sm.process_mask(sm.MultiHeadMask([mask]), BLOCK)


def test_an_exception_keeps_its_traceback():
    def broken(q, kv):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        process(broken)
    assert any(frame.name == "broken" for frame in traceback.extract_tb(caught.value.__traceback__))
    with pytest.raises(ZeroDivisionError):
        process(dilated, classify=lambda *_: 1 // 0)


@pytest.mark.parametrize("function, error, text", [
    (lambda q, kv: np.ones((3, 3), bool), ValueError, "bools of shape (16, 16), got shape (3, 3)"),
    (lambda q, kv: q + kv, TypeError, "to return bools, got int32"),
    (lambda q, kv: None, TypeError, "to return bools, got object"),
])
def test_wrong_results(function, error, text):
    with pytest.raises(error) as caught:
        process(function)
    assert isinstance(caught.value, sm.Error)
    assert text.replace("int32", "") in str(caught.value).replace("int64", "").replace("int32", "")


def test_plans_store_the_cells(tmp_path):
    plan = sm.compile(sm.CustomMask((64, 64), dilated), block_q=16, block_kv=16)
    assert plan.fwd.mask_function is dilated and plan.verify() is None
    with pytest.warns(UserWarning, match="cannot be stored: its cells are"):
        plan.save(tmp_path / "plan.h5")
    stored = sm.load(tmp_path / "plan.h5")
    assert stored.verify() is None
    np.testing.assert_array_equal(stored.mask.masks[0][:, :], plan.mask.masks[0][:, :])


def test_many_threads_of_callers_and_of_callbacks():
    array = np.random.default_rng(3).random((256, 256)) < 0.5
    want, _ = sm.process_mask(sm.MultiHeadMask([sm.NumpyMask(array)]), (16, 16))
    failures = []

    def work(seed):
        mask = sm.from_jax(UnhashableMask(array))
        got, _ = sm.process_mask(sm.MultiHeadMask([mask]), (16, 16))
        try:
            assert_same_info(want, got)
        except AssertionError as error:
            failures.append((seed, error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_what_may_change_is_asked_anew():
    array = np.random.default_rng(4).random(SHAPE) < 0.4
    heads = jax_masks.MultiHeadMask([UnhashableMask(array)])
    sm.process_mask(heads, BLOCK, shrink_grid=False)
    array[:16, :16] = False
    assert sm.process_mask(heads, BLOCK, shrink_grid=False)[0].block_mask[0, 0, 0] == 0


class OneDocumentEach(jax_masks.CausalMask):
    """A class of the user's own that says itself what its cells are."""

    documents = np.arange(64) // 24

    def __getitem__(self, index):
        return super().__getitem__(index) & (
            self.documents[index[0]][:, None] == self.documents[index[1]])

    def __eq__(self, other):
        return isinstance(other, OneDocumentEach)

    def __hash__(self):
        return 1


@pytest.mark.parametrize("several", [True, False])
def test_a_subclass_with_cells_of_its_own(several):
    heads = [OneDocumentEach((64, 64))] + [jax_masks.CausalMask((64, 64))] * several
    mask = jax_masks.MultiHeadMask(heads)
    for is_dkv in (False, True):
        name = "process_mask_dkv" if is_dkv else "process_mask"
        want, want_function = getattr(jax_info, name)(mask, (16, 16))
        got, function = getattr(sm, name)(mask, (16, 16))
        assert_same_info(want, got)
        assert function is want_function
