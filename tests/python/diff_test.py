# SPDX-License-Identifier: Apache-2.0
"""splashmask.diff and splashmask.explain against cells."""

import os
import signal
import threading

import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks

import splashmask as sm

S = (48, 65)
MASKS = {
    "causal": sm.CausalMask(S, 20),
    "as_local": sm.LocalMask(S, (None, 0), 20),
    "composed": (sm.CausalMask(S, 25) & ~sm.stride(S, 3)) | sm.prefix(S, 7),
    "documents": sm.documents(S, [10, 0, 20, 18]),
    "dense": sm.NumpyMask(np.random.default_rng(0).random(S) < 0.4),
    "zigzag": sm.zigzag(sm.LocalMask(S, (9, 4), 3), 4),
    "custom": sm.CustomMask(S, lambda q, kv: (q * kv) % 5 == 1),
    "jax": jax_masks.CausalMask(S, 20),
}


def cells_of(mask):
    return np.asarray(mask[:, :])


@pytest.mark.parametrize("a", MASKS.values(), ids=MASKS)
def test_diff_is_like_cells(a):
    for b in MASKS.values():
        ours, theirs = cells_of(a), cells_of(b)
        q, kv = np.nonzero(ours != theirs)  # In row-major order.
        for threads in (0, 1, 3):
            found = sm.diff(a, b, threads=threads)
            assert found.cells == len(q) and found.equal == (len(q) == 0)
            if len(q) == 0:
                assert found.first is None
            else:
                where = (q[0], kv[0])
                assert found.first == (*where, ours[where], theirs[where])
                assert type(found.first.a) is bool and type(found.first.q) is int


def test_diff_of_heads_and_plans():
    names = ["causal", "documents", "causal"]
    a = sm.MultiHeadMask([MASKS[name] for name in names])
    b = sm.MultiHeadMask([MASKS["as_local"], MASKS["dense"], MASKS["dense"]])
    expected = [sm.diff(*pair) for pair in zip(a.masks, b.masks)]
    assert sm.diff(a, b) == expected and expected[0].equal and not expected[1].equal
    plan = sm.compile(a, block_q=16, block_kv=13)
    assert sm.diff(plan, b) == expected
    assert [one.equal for one in sm.diff(plan, plan)] == [True] * 3
    jax = jax_masks.MultiHeadMask([MASKS["jax"]] * 3)
    assert [one.equal for one in sm.diff(jax, a)] == [True, False, True]


def test_diff_at_a_million_positions():
    n = (2**20, 2**20)
    causal = sm.CausalMask(n)
    assert sm.diff(causal, sm.LocalMask(n, (None, 0), 0)).equal
    cell = sm.q_range(n, 700_001, 700_002) & sm.kv_range(n, 5, 6)
    assert sm.diff(causal, causal ^ cell) == (1, (700_001, 5, True, False))


def test_what_cannot_be_compared():
    mask = MASKS["causal"]
    with pytest.raises(sm.Error, match=r"\[diff\] expected masks of one shape and number of heads, got "
                                       r"\(48, 65\) with 1 head and \(48, 66\) with 1 head"):
        sm.diff(mask, sm.CausalMask((48, 66)))
    with pytest.raises(sm.Error, match="with 1 head and .* with 2 heads"):
        sm.diff(sm.MultiHeadMask([mask]), sm.MultiHeadMask([mask] * 2))
    with pytest.raises(sm.Error):
        sm.diff(mask, "causal()")
    with pytest.raises(TypeError, match="expected threads to be an integer"):
        sm.diff(mask, mask, threads="all")


def test_ctrl_c_ends_a_long_diff():
    n = (2**20, 2**20)
    a, b = sm.stride(n, 3) & sm.CausalMask(n), sm.stride(n, 5) | sm.prefix(n, 9)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Jobs in the background ignore it.
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        sm.diff(a, b)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_explain_is_like_cells(mask):
    cells = cells_of(mask)
    for q in range(0, S[0], 5):
        for kv in range(0, S[1], 3):
            found = sm.explain(mask, q, kv)
            assert found.value is bool(cells[q, kv]) and (found.q, found.kv) == (q, kv)
            assert found.reasons and found.reasons == [p for p in found.parts if p.decides]
            assert str(found).startswith(f"q {q}, kv {kv}: {'attends' if found.value else 'masked'}\n")


def test_explain_tells_what_decides():
    mask = sm.CausalMask(S) & ~sm.prefix(S, 9)
    heads = sm.MultiHeadMask([sm.FullMask(S), mask])
    found = sm.explain(heads, 1, 30, 40)
    assert str(found) == """head 1, q 30, kv 40: masked
  causal() & ~prefix(9)  false
    causal()             false  30 >= 40 is false  <- decides
    ~prefix(9)           true
      prefix(9)          false  40 < 9 is false
"""
    assert [part.part for part in found.reasons] == ["causal()"]
    assert found.parts[0] == (0, "&", 30, 40, False, False, "")
    assert sm.explain(heads, q=30, kv=40, head=1) == found == sm.explain(heads, 30, 40, head=1)
    assert sm.explain(heads, 30, 40).head == 0 and sm.explain(heads, 30, 40).value
    assert sm.explain(sm.compile(heads, block_q=16, block_kv=13), 1, 30, 40) == found
    assert sm.explain(mask, 30, 40).head is None


def test_what_cannot_be_explained():
    mask = MASKS["causal"]
    heads = sm.MultiHeadMask([mask])
    for call, text in [(lambda: sm.explain(mask, 48, 0), "expected q in 0..47, got 48"),
                       (lambda: sm.explain(mask, 0, -1), "expected kv in 0..64, got -1"),
                       (lambda: sm.explain(heads, 1, 0, 0), "expected a head in 0..0, got 1"),
                       (lambda: sm.explain(mask, 2**70, 0), "expected q in 64 bits")]:
        with pytest.raises(sm.Error, match=r"\[explain\] " + text):
            call()
    for call, text in [(lambda: sm.explain(mask, 0), "got 1 positions"),
                       (lambda: sm.explain(mask), "expected q and kv"),
                       (lambda: sm.explain(mask, 1, 2, q=3), "got 2 positions and some by name"),
                       (lambda: sm.explain(mask, 0, 1, 2), "without heads, got a head"),
                       (lambda: sm.explain(mask, 0.5, 1), "expected q to be an integer")]:
        with pytest.raises(TypeError, match=text):
            call()

    def fails(q, kv):
        raise RuntimeError("no cells here")

    with pytest.raises(RuntimeError, match="no cells here"):
        sm.explain(sm.CustomMask(S, fails), 0, 0)


def test_one_mask_beside_several_heads():
    causal, full = MASKS["causal"], sm.FullMask(MASKS["causal"].shape)
    heads = sm.MultiHeadMask([causal, full, causal])
    assert [bool(found) for found in sm.diff(heads, causal)] == [False, True, False]
    assert sm.diff(full, heads)[0] == sm.diff(full, causal)
    assert sm.diff(sm.compile(heads, block_q=48, block_kv=65), causal) == sm.diff(heads, causal)
    assert not sm.diff(causal, causal) and sm.diff(causal, causal).equal


def test_a_classifier_that_contradicts_its_function():
    shape = (1024, 1024)
    wrong = sm.CustomMask(shape, lambda q, kv: q >= kv,
                          classify=lambda q0, q1, kv0, kv1: False if q1 <= kv1 else None)
    with pytest.raises(sm.Error, match="expected custom functions whose classifier agrees with their"):
        sm.diff(wrong, sm.CausalMask(shape))
    for answer in ("yes", 1, np.int32(0)):
        bad = sm.CustomMask(shape, lambda q, kv: q >= kv, classify=lambda *_, answer=answer: answer)
        with pytest.raises(sm.Error, match="expected classify of .* to return True, False or None"):
            sm.count(bad)
    numpys = sm.CustomMask(shape, lambda q, kv: q >= kv,
                           classify=lambda q0, q1, kv0, kv1: np.bool_(False) if q1 <= kv0 else None)
    assert sm.count(numpys) == sm.count(sm.CausalMask(shape))
