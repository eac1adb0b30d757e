# SPDX-License-Identifier: Apache-2.0
"""process_mask as a function: arrays in, arrays out, the cache, threads, JAX's mistakes."""

import gc
import threading

import numpy as np
import pytest
from comparison import assert_same_info
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info

import splashmask as sm


def dense(array, **options):
    return sm.process_mask(sm.MultiHeadMask([sm.NumpyMask(array)]), (4, 4), **options)[0]


def causal(length=64, heads=1):
    return sm.MultiHeadMask([sm.CausalMask((length, length))] * heads)


@pytest.fixture
def array():
    return np.random.default_rng(0).random((16, 24)) < 0.5


def test_every_memory_layout_gives_the_same_tables(array):
    want = dense(array)
    spread = np.zeros((32, 48), bool)
    spread[::2, ::2] = array
    read_only = array.copy()
    read_only.setflags(write=False)
    for other in (np.asfortranarray(array), spread[::2, ::2], read_only):
        assert_same_info(want, dense(other))


def test_any_byte_but_zero_is_true(array):
    loud = (array * np.uint8(255)).view(bool)
    assert_same_info(dense(array), dense(loud))


def test_results_own_their_memory(array):
    want = dense(array)
    copies = [None if field is None else field.copy() for field in want[:5]]
    array[:] = False
    gc.collect()
    np.zeros(10_000_000)
    for copy, field in zip(copies, want[:5], strict=True):
        if copy is not None:
            np.testing.assert_array_equal(copy, field)
            assert field.flags.writeable and field.flags.c_contiguous


def test_an_array_that_changed_is_compiled_anew(array):
    mask = sm.MultiHeadMask([sm.NumpyMask(array)])
    sm.process_mask(mask, (4, 4))
    array[:4, :4] = False
    assert sm.process_mask(mask, (4, 4), shrink_grid=False)[0].block_mask[0, 0, 0] == 0


def test_the_cache_gives_the_same_read_only_arrays():
    sm.clear_cache()
    first, function = sm.process_mask(causal(), (16, 16))
    again, same = sm.process_mask(causal(heads=1), (16, 16))
    assert again is first and function == same
    assert not first.data_next.flags.writeable and not first.q_sequence.flags.writeable
    for other in (
        sm.process_mask_dkv(causal(), (16, 16)),
        sm.process_mask(causal(), (16, 16), shrink_grid=False),
        sm.process_mask(causal(), (16, 16), downcast_smem_data=False),
        sm.process_mask(causal(), (16, 16), q_seq_shards=2),
        sm.process_mask(causal(), (16, 32)),
        sm.process_mask(causal(heads=2), (16, 16)),
    ):
        assert other[0] is not first
    sm.clear_cache()
    assert sm.process_mask(causal(), (16, 16))[0] is not first


def test_the_cache_is_bounded():
    from splashmask.process import _Cache

    cache = _Cache(100)
    info = sm.MaskInfo(np.zeros(40, np.int8), None, None, None, None)
    for key in range(3):
        cache.put(key, (info, None))
    assert cache.get(0) is None and cache.get(1) is not None and cache.get(2) is not None
    cache.get(1)
    cache.put(3, (info, None))
    assert cache.get(2) is None and cache.get(1) is not None, "the one used last stays"
    cache.put(4, (sm.MaskInfo(np.zeros(101, np.int8), None, None, None, None), None))
    assert cache.get(4) is None and cache.get(3) is not None


def test_jax_s_masks_are_taken_as_they_are():
    theirs = jax_masks.MultiHeadMask([jax_masks.CausalMask((64, 64))])
    for name in ("process_mask", "process_mask_dkv"):
        want, _ = getattr(jax_info, name)(theirs, (16, 16))
        assert_same_info(want, getattr(sm, name)(theirs, (16, 16))[0])


def test_is_dkv_as_in_jax():
    for name, is_dkv in (("process_mask", True), ("process_mask_dkv", False)):
        theirs = jax_masks.MultiHeadMask([jax_masks.CausalMask((64, 64))])
        want, _ = getattr(jax_info, name)(theirs, (16, 16), is_dkv=is_dkv)
        assert_same_info(want, getattr(sm, name)(theirs, (16, 16), is_dkv=is_dkv)[0])


def test_functions_are_values():
    function = sm.process_mask(causal(64), (16, 16))[1]
    same = sm.process_mask(causal(64, heads=3), (32, 32))[1]
    other = sm.process_mask(sm.MultiHeadMask([sm.CausalMask((64, 64), 1)]), (16, 16))[1]
    assert function == same and hash(function) == hash(same) and function != other
    assert str(function) == "causal()"


def test_callers_in_sixteen_threads():
    masks = [sm.MultiHeadMask([sm.LocalMask((512, 512), (window, 3), 0) & sm.stride((512, 512), 3)])
             for window in range(16)]
    wanted = [sm.compile(mask, block_q=16, block_kv=16).digests for mask in masks]
    got = {}

    def work(i):
        plan = sm.compile(masks[i], block_q=16, block_kv=16)
        got[i] = plan.digests, plan.verify()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {i: (digests, None) for i, digests in enumerate(wanted)}


HEADS = 4
MISTAKES = [
    (lambda p: p((16, 10)), "block_kv (10) to divide kv_len (64)"),
    (lambda p: p((10, 16)), "block_q (10) to divide q_len (64)"),
    (lambda p: p((16, 16), q_seq_shards=3), "q_seq_shards (3) to divide q_len (64)"),
    (lambda p: p((32, 16), q_seq_shards=4), "block_q (32) to divide q_len / q_seq_shards (16)"),
    (lambda p: p((16, 16), head_shards=3), "head_shards (3) to divide the number of heads (4)"),
]


@pytest.mark.parametrize("make, text", MISTAKES, ids=[text for _, text in MISTAKES])
@pytest.mark.parametrize("name", ["process_mask", "process_mask_dkv"])
def test_mistakes_are_jax_s(make, text, name):
    theirs = jax_masks.MultiHeadMask([jax_masks.CausalMask((64, 64))] * HEADS)
    with pytest.raises(ValueError):
        make(lambda *a, **k: getattr(jax_info, name)(theirs, *a, **k))
    with pytest.raises(ValueError) as caught:
        make(lambda *a, **k: getattr(sm, name)(theirs, *a, **k))
    assert isinstance(caught.value, sm.Error) and caught.value.code == "InvalidArgument"
    if name == "process_mask_dkv":
        text = text.replace("block_q ", "block_q_dkv ").replace("block_kv ", "block_kv_dkv ")
    assert text in str(caught.value)


def test_blocks_and_shards_of_zero_are_plain_errors():
    for options in (dict(block_shape=(0, 16)), dict(block_shape=(16, 16), q_seq_shards=0),
                    dict(block_shape=(16, 16), head_shards=0), dict(block_shape=(16, -16))):
        with pytest.raises(sm.Error, match="at least 1"):
            sm.process_mask(causal(), **options)


def test_masks_of_other_ranks():
    for mask in (sm.CausalMask((64, 64)), jax_masks.CausalMask((64, 64)), None, "causal()"):
        with pytest.raises(ValueError, match="expected a MultiHeadMask"):
            sm.process_mask(mask, (16, 16))


@pytest.mark.parametrize("options", [
    dict(block_shape=16), dict(block_shape=(16, 2.5)), dict(block_shape=(16, 16), head_shards="2"),
    dict(block_shape=(16, 16), q_seq_shards=1.0)
])
def test_wrong_types_are_type_errors(options):
    with pytest.raises(TypeError) as caught:
        sm.process_mask(causal(), **options)
    assert isinstance(caught.value, sm.Error)


def test_dynamic_masks_that_do_not_fit():
    function = sm.process_dynamic_mask
    flat, integers = np.zeros((8, 8), bool), np.zeros((1, 8, 8), np.int8)
    for mask, block, code, text in [
        (flat, (4, 4), "InvalidArray", "got bool of rank 2"),
        (integers, (4, 4), "InvalidArray", "got int8 of rank 3"),
        (integers.view(bool), (4, 3), "InvalidArgument", "block_kv (3)"),
    ]:
        with pytest.raises(sm.Error) as caught:
            function(mask, block)
        assert caught.value.code == code and text in str(caught.value)
