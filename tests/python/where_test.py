# SPDX-License-Identifier: Apache-2.0
"""Predicates mean what Python says they mean; columns are reordered as rows are."""

import os
import pickle
import random
import re
import signal
import threading

import mask_text
import numpy as np
import pytest

import splashmask as sm


class Int64:
    """A Python integer that complains when it leaves 64 bits."""

    def __init__(self, value):
        if not -2**63 <= value < 2**63:
            raise OverflowError
        self.value = value


def _operator(name):
    def operate(a, *b):
        result = getattr(a.value, name)(*(x.value for x in b))
        return result if isinstance(result, bool) else Int64(result)

    return operate


for _name in ("add", "sub", "mul", "floordiv", "mod", "neg", "abs", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Int64, f"__{_name}__", _operator(f"__{_name}__"))


def _integer(rng, depth):
    if depth <= 0 or rng.random() < 0.2:
        return rng.choice(["q", "kv", "q", "kv", "q_len", "kv_len", str(rng.randint(0, 12)),
                           str(rng.randint(0, 2**rng.randint(1, 62)))])
    a, b = _integer(rng, depth - 1), _integer(rng, depth - 1)
    return rng.choice([
        f"{a} + {b}", f"{a} - ({b})", f"({a}) * ({b})", f"({a}) // ({b})", f"({a}) % ({b})",
        f"({a}) // {rng.randint(1, 9)}", f"({a}) % {rng.randint(1, 9)}", f"-({a})", f"abs({a})",
        f"min({a}, {b})", f"max({a}, {b}, 3)", f"({a}) % -{rng.randint(1, 5)}", f"{a} - {b}",
    ])


def _condition(rng, depth):
    if depth > 0 and rng.random() < 0.5:
        a, b = _condition(rng, depth - 1), _condition(rng, depth - 1)
        return rng.choice([f"not {a}", f"not ({a})", f"{a} and {b}", f"{a} or {b}", f"({a} or {b}) and {a}",
                           f"({a}) and ({b})", f"({a}) or ({b})"])
    compare = [rng.choice(["==", "!=", "<", "<=", ">", ">="]) for _ in range(2)]
    text = f"{_integer(rng, depth)} {compare[0]} {_integer(rng, depth)}"
    return f"{text} {compare[1]} {_integer(rng, depth - 1)}" if rng.random() < 0.2 else text


def _expected(predicate, shape):
    """bool cells, or the first one in row order that fails and whether it divides by zero."""
    code = compile(re.sub(r"\b\d+\b", r"Int64(\g<0>)", predicate), "<predicate>", "eval")
    names = {"__builtins__": {}, "abs": abs, "min": min, "max": max, "Int64": Int64,
             "q_len": Int64(shape[0]), "kv_len": Int64(shape[1])}
    cells = np.zeros(shape, bool)
    for q, kv in np.ndindex(*shape):
        try:
            cells[q, kv] = eval(code, names, {"q": Int64(q), "kv": Int64(kv)})
        except (ZeroDivisionError, OverflowError) as error:
            return (q, kv), isinstance(error, ZeroDivisionError)
    return cells, None


@pytest.mark.parametrize("seed", range(40))
def test_predicates_are_pythons(seed):
    rng = random.Random(seed)
    for _ in range(50):
        shape = rng.randint(1, 9), rng.randint(1, 9)
        predicate = _condition(rng, rng.randint(0, 3))
        expected, by_zero = _expected(predicate, shape)
        if by_zero is None:
            mask = sm.where(shape, predicate)
            np.testing.assert_array_equal(mask[:, :], expected, err_msg=predicate)
            again = sm.parse(str(mask), shape)
            assert again == mask and hash(again) == hash(mask)
            np.testing.assert_array_equal(again[:, :], expected, err_msg=predicate)
        else:
            with pytest.raises(sm.Error) as caught:
                sm.where(shape, predicate)
            assert str(caught.value).endswith(f" at (q, kv) = {expected}"), (predicate, caught.value)
            what = "divides by zero" if by_zero else "leaves 64 bits"
            assert f"{what} at" in str(caught.value), (predicate, caught.value)


def test_a_predicate_is_a_value():
    mask = sm.where((8, 8), "q>=kv and(q-kv)%4<2")
    assert str(mask) == 'where("q >= kv and (q - kv) % 4 < 2")'
    assert pickle.loads(pickle.dumps(mask & sm.CausalMask((8, 8)))) == mask & sm.CausalMask((8, 8))
    with pytest.raises(TypeError, match="expected a predicate as text, got 3"):
        sm.where((8, 8), 3)
    with pytest.raises(sm.Error, match="expected an operator, got '&': write 'and'"):
        sm.where((8, 8), "q > 1 & kv > 1")


def test_a_predicate_at_a_million_tokens():
    s = 2**20
    mask = sm.where((s, s), "q >= kv and (q - kv) % 65536 < 8")
    plan = sm.compile(mask, block_q=512, block_kv=512)
    # Along a diagonal of eight cells: blocks that it crosses, and those that it cuts the corner of.
    assert plan.fwd.packed_partial_mask_blocks.shape[0] == 2
    sample = mask[s - 4 : s, s - 70_000 : s]
    q, kv = np.arange(s - 4, s)[:, None], np.arange(s - 70_000, s)
    np.testing.assert_array_equal(sample, (q >= kv) & ((q - kv) % 65536 < 8))


def test_columns_are_reordered_as_rows_are():
    rng = np.random.default_rng(0)
    dense = rng.random((12, 16)) < 0.5
    mask = sm.NumpyMask(dense)
    q, kv = rng.permutation(12), rng.integers(0, 16, 16)
    both = sm.reorder(mask, q=q, kv=kv)
    np.testing.assert_array_equal(both[:, :], dense[q][:, kv])
    np.testing.assert_array_equal(sm.reorder(mask, kv=kv)[:, :], dense[:, kv])
    assert both == sm.reorder(sm.reorder(mask, kv=kv), q)
    assert pickle.loads(pickle.dumps(both)) == both
    zigzag, striped = mask_text.zigzag, mask_text.striped
    np.testing.assert_array_equal(sm.zigzag(mask, 2, kv=True)[:, :],
                                  dense[zigzag(12, 2)][:, zigzag(16, 2)])
    np.testing.assert_array_equal(sm.striped(mask, 4, kv=True)[:, :],
                                  dense[striped(12, 4)][:, striped(16, 4)])
    np.testing.assert_array_equal(sm.striped(mask, 4)[:, :], dense[striped(12, 4)])
    assert str(sm.striped(sm.CausalMask((12, 16)), 4, kv=True)) == (
        "reorder(causal(), q=striped(4), kv=striped(4))")


def test_q_sequence_beside_reordered_columns():
    shape = (4, 4)
    mask = sm.reorder(sm.CausalMask(shape), kv=np.array([3, 2, 1, 0]))
    np.testing.assert_array_equal(mask.q_sequence, [0, 1, 2, 3])
    mask.q_sequence = np.array([2, 0, 9, 1])
    np.testing.assert_array_equal(mask.q_sequence, [2, 0, 9, 1])
    np.testing.assert_array_equal(mask[:, :], np.array([2, 0, 9, 1])[:, None] >= np.array([3, 2, 1, 0]))
    # The kernel knows no such columns, so it gets blocks.
    info, function = sm.process_mask(sm.MultiHeadMask([mask]), (2, 2))
    assert function is None and info.partial_mask_blocks is not None


def test_bad_kv_positions():
    causal = sm.CausalMask((4, 4))
    with pytest.raises(sm.Error, match="expected kv positions array to have 4 elements, got 3"):
        sm.reorder(causal, kv=np.arange(3))
    with pytest.raises(sm.Error, match=r"expected kv positions of magnitude up to 2\^60"):
        sm.reorder(causal, kv=np.full(4, 2**62))
    with pytest.raises(sm.Error, match=r"expected kv positions in \[0, 4\), as this mask holds an array"):
        sm.reorder(sm.NumpyMask(np.ones((4, 4), bool)), kv=np.array([0, 1, 2, 4]))


def _kernel_function(mask):
    info, function = sm.process_mask(sm.MultiHeadMask([mask]), mask.shape, simplify=True)
    return info.q_sequence, function


@pytest.mark.parametrize("seed", range(6))
def test_kernels_compute_predicates(seed):
    import jax.numpy as jnp

    rng = random.Random(1000 + seed)
    computed = 0
    while computed < 25:
        shape = rng.randint(1, 9), rng.randint(1, 9)
        predicate = _condition(rng, rng.randint(0, 3))
        expected, by_zero = _expected(predicate, shape)
        if by_zero is not None:
            continue
        q, function = _kernel_function(sm.where(shape, predicate))
        if function is None or "where" not in str(function):
            continue
        computed += 1
        kv = np.arange(shape[1], dtype=np.int32)
        for cells in (function(q[:, None], kv), function(jnp.asarray(q)[:, None], jnp.asarray(kv))):
            assert cells.dtype == bool
            np.testing.assert_array_equal(cells, expected, err_msg=predicate)


@pytest.mark.parametrize("predicate", [
    "(q_len > 5 or q * 1000000000000 > 3) and q * q % 3 < kv % 5",
    "(q_len > 5 or 1 // 0 > 3) and q * q % 3 < kv % 5",
    "q % 3 > kv % 5 and (q >= kv or q < kv or 1 // 0 == 1)",
    "q - (kv - (" * 150 + "q" + "))" * 150 + " >= q * q % 7",
    " + ".join(["q", "kv * q % 3"] * 400) + " >= 3",
    "q == 0 or kv % q < 2",
])
@pytest.mark.filterwarnings("error")
def test_kernels_compute_what_python_would_not_reach_or_read(predicate):
    mask = sm.where((8, 8), predicate)
    q, function = _kernel_function(mask)
    np.testing.assert_array_equal(function(q[:, None], np.arange(8, dtype=np.int32)), mask[:, :])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "uint32", "uint64", "int64"])
def test_positions_of_any_dtype(dtype):
    import jax.numpy as jnp

    n = 100
    for mask in [sm.where((n, n), "(q - 5) * (kv - 3) >= 0"), sm.where((n, n), "abs(q - 100) % 64 < kv"),
                 sm.where((n, n), "-q + kv * kv % 7 >= -30"), sm.CausalMask((n, n), -1),
                 sm.CausalMask((n, n)) & sm.LocalMask((n, n), (5, None), 0), sm.stride((n, n), 9, 6)]:
        mask.q_sequence = np.arange(n)[::-1].astype(dtype)
        q, function = _kernel_function(mask)
        assert q.dtype == dtype
        kv = np.arange(n, dtype=np.int32)
        np.testing.assert_array_equal(function(q[:, None], kv), mask[:, :])
        np.testing.assert_array_equal(function(jnp.asarray(q)[:, None], jnp.asarray(kv)), mask[:, :])


@pytest.mark.parametrize("first", [-2**31, 2**31 - 16, 2**32])
def test_positions_whose_differences_wrap_are_not_for_kernels(first):
    mask = sm.stride((16, 16), 9, 6)
    mask.q_sequence = (np.arange(16) + first)[::-1]
    assert _kernel_function(mask)[1] is None
    assert sm.compile(mask, block_q=8, block_kv=8, simplify=True).verify() is None


def test_columns_far_apart_over_many_runs():
    far = sm.reorder(sm.stride((64, 64), 27, 23), kv=np.arange(64) * 2**30)
    q, kv = np.arange(64)[:, None], np.arange(64) * 2**30
    np.testing.assert_array_equal(far[:, :], (q - kv) % 27 == 23)
    assert sm.count(far) == int(((q - kv) % 27 == 23).sum())


def test_ctrl_c_ends_the_check_of_a_predicate():
    cells = "(q // 5 + kv) % (q + 2) == 0 or q // ((q // 5 + kv) % (q + 2)) > 3"
    for make in (lambda: sm.where((2**17, 2**17), cells),
                 lambda: sm.parse(f'where("{cells}")', (2**17, 2**17))):
        signal.signal(signal.SIGINT, signal.default_int_handler)  # Jobs in the background ignore it.
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            make()
