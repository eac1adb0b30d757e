# SPDX-License-Identifier: Apache-2.0
"""What the binding itself does: arrays in, arrays out, errors."""

import gc
import threading

import numpy as np
import pytest
from comparison import assert_same_info

import splashmask


def dense(array, **options):
    return splashmask.process_mask(
        'dense("m.npy")', array.shape, (4, 4), arrays={"m.npy": array}, **options
    )[0]


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


def test_q_sequence_is_a_copy_of_the_caller_s():
    q = np.arange(8, dtype=np.int64)[::-1].copy()
    info, function = splashmask.process_mask(
        'reorder(causal(), q="q.npy")', (8, 8), (2, 2), arrays={"q.npy": q}
    )
    assert function == "causal()"
    info.q_sequence[:] = 0
    np.testing.assert_array_equal(q, np.arange(8)[::-1])


def test_callers_in_several_threads(array):
    want = dense(array)
    got = []
    threads = [threading.Thread(target=lambda: got.append(dense(array))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    for info in got:
        assert_same_info(want, info)


def process(mask, arrays=None, block=(4, 4), **options):
    return splashmask.process_mask(mask, (16, 16), block, arrays=arrays, **options)


def assert_raises(code, text, function, *args, **options):
    with pytest.raises(ValueError) as caught:
        function(*args, **options)
    assert type(caught.value) is splashmask.Error
    assert caught.value.code == code
    assert text in str(caught.value)


def test_errors_carry_a_code():
    assert_raises("Syntax", "column", process, "causal(")
    assert_raises("InvalidArgument", "block_q (5)", process, "causal()", block=(5, 4))
    shards = dict(num_heads=3, head_shards=2)
    assert_raises("InvalidArgument", "head_shards (2)", process, "causal()", **shards)


def test_arrays_that_are_not_there():
    other = {"other.npy": np.zeros(1, bool)}
    assert_raises("NotFound", 'named "m.npy", got other.npy', process, 'dense("m.npy")', other)
    assert_raises("NotFound", 'named "m.npy", got none', process, 'dense("m.npy")')


@pytest.mark.parametrize(
    "array, text",
    [
        (np.zeros((16, 16), np.float32), "another dtype of 32 bits"),
        (np.zeros((16, 16), ">i4"), "byte order"),
        ([[True] * 16] * 16, "got list"),
        (np.zeros((16, 16), np.int8), "2-D bool"),
        (np.zeros((16, 15), bool), "(16, 16)"),
    ],
)
def test_arrays_that_do_not_fit(array, text):
    assert_raises("InvalidArray", text, process, 'dense("m.npy")', {"m.npy": array})


def test_dynamic_masks_that_do_not_fit():
    function = splashmask.process_dynamic_mask
    flat, integers = np.zeros((8, 8), bool), np.zeros((1, 8, 8), np.int8)
    assert_raises("InvalidArray", "got bool of rank 2", function, flat, (4, 4))
    assert_raises("InvalidArray", "got int8 of rank 3", function, integers, (4, 4))
    assert_raises("InvalidArgument", "block_kv (3)", function, integers.view(bool), (4, 3))


def test_wrong_types_are_type_errors():
    with pytest.raises(TypeError):
        splashmask.process_mask(3, (16, 16), (4, 4))
    with pytest.raises(TypeError):
        process("causal()", {3: np.zeros(1, bool)})
