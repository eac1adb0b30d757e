# SPDX-License-Identifier: Apache-2.0
"""Attention on the CPU from Python: beside JAX's kernel, interpreted, and on anybody's arrays."""

import signal
import timeit

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import splashmask as sm
import splashmask.jax as smj

SHAPE = (256, 384)


def inputs(heads=4, kv_heads=2, dim=64, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (heads, SHAPE[0], dim), (kv_heads, SHAPE[1], dim), (kv_heads, SHAPE[1], dim)
    q, k, v = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return [x.astype(dtype) for x in (q / np.sqrt(np.float32(dim)), k, v)]


def compiled(mask, heads=4, **options):
    return sm.compile(sm.MultiHeadMask([mask] * heads), block_q=128, block_kv=128, **options)


MASKS = {
    "causal": sm.CausalMask(SHAPE, 100),
    "partial_blocks": sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (70, None), 0),
    "chunked": sm.ChunkedCausalMask(SHAPE, 96),
    "full": sm.FullMask(SHAPE),
    "reordered": sm.zigzag(sm.CausalMask(SHAPE), 4),
}


# JAX takes a second or two for each.
CASES = [(mask, "") for mask in MASKS] + [
    (mask, extra) for mask in ("partial_blocks", "reordered")
    for extra in ("segment_ids", "sinks", "soft_cap")]


@pytest.mark.parametrize("mask, extra", CASES)
def test_like_jax_s_kernel(mask, extra):
    mask = MASKS[mask]
    q, k, v = inputs()
    cap = 3.0 if extra == "soft_cap" else None
    sinks = np.linspace(-1, 1, 4, dtype=np.float32) if extra == "sinks" else None
    ids = (np.arange(SHAPE[0]) // 100, np.arange(SHAPE[1]) // 100)
    ids = tuple(x.astype(np.int32) for x in ids) if extra == "segment_ids" else None
    kernel = smj.make_splash_mha_single_device(
        sm.MultiHeadMask([mask] * 4), interpret=True, save_residuals=True, attn_logits_soft_cap=cap)
    segment_ids = None if ids is None else smj.SegmentIds(*map(jnp.asarray, ids))
    want, (want_logsumexp,) = kernel(q, k, v, segment_ids,
                                     None if sinks is None else jnp.asarray(sinks))
    attention = sm.SplashAttention(compiled(mask), attn_logits_soft_cap=cap)
    out, logsumexp = attention(q, k, v, ids, sinks, save_residuals=True)
    # Rows that see nothing have an answer of their own here.
    visible = np.asarray(mask[:, :])
    if ids is not None:
        visible = visible & (ids[0][:, None] == ids[1])
    rows = visible.any(1)
    assert rows.any()
    np.testing.assert_allclose(out[:, rows], np.asarray(want)[:, rows], rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(logsumexp[:, rows], np.asarray(want_logsumexp)[:, rows], rtol=1e-5,
                               atol=1e-5)
    assert (out[:, ~rows] == 0).all()
    assert (logsumexp[:, ~rows] == (-np.inf if sinks is None else sinks[:, None])).all()


@pytest.mark.parametrize("mask, extra", CASES)
def test_gradients_like_jax_s_kernel(mask, extra):
    mask = MASKS[mask]
    q, k, v = inputs()
    do = np.random.default_rng(1).standard_normal(q.shape, np.float32)
    cap = 3.0 if extra == "soft_cap" else None
    sinks = np.linspace(-1, 1, 4, dtype=np.float32) if extra == "sinks" else None
    ids = tuple(np.arange(n, dtype=np.int32) // 130 for n in SHAPE) if extra == "segment_ids" else None
    # A row that sees nothing is undefined in JAX's kernel: no gradient comes from it here.
    visible = np.asarray(mask[:, :])
    if ids is not None:
        visible = visible & (ids[0][:, None] == ids[1])
    do *= visible.any(1)[:, None]
    heads = sm.MultiHeadMask([mask] * 4)
    kernel = smj.make_splash_mha_single_device(heads, interpret=True, attn_logits_soft_cap=cap)
    segment_ids = None if ids is None else smj.SegmentIds(*map(jnp.asarray, ids))

    def loss(q, k, v, sinks):
        return (kernel(q, k, v, segment_ids, sinks) * do).sum()

    arguments = (0, 1, 2) if sinks is None else (0, 1, 2, 3)
    want = jax.grad(loss, arguments)(q, k, v, sinks)
    attention = sm.SplashAttention(compiled(mask), attn_logits_soft_cap=cap)
    out, logsumexp = attention(q, k, v, ids, sinks, save_residuals=True)
    got = attention.backward(q, k, v, out, logsumexp, do, ids, sinks)
    for name, expected, ours in zip(("dq", "dk", "dv", "sinks"), want, got):
        np.testing.assert_allclose(ours, np.asarray(expected), rtol=1e-4, atol=2e-5, err_msg=name)
    assert len(got) == len(want)


def test_gradients_of_batches_and_shared_heads():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    q, k, v = (np.stack(parts) for parts in zip(*(inputs(seed=seed) for seed in range(2))))
    do = np.random.default_rng(2).standard_normal(q.shape, np.float32)
    out, logsumexp = attention(q, k, v, save_residuals=True)
    got = attention.backward(q, k, v, out, logsumexp, do)
    for b in range(2):
        one = attention.backward(q[b], k[b], v[b], out[b], logsumexp[b], do[b])
        for ours, expected in zip(got, one):
            np.testing.assert_array_equal(ours[b], expected)
    keys, values = k[:, 0], v[:, 0]  # All heads share them.
    out, logsumexp = attention(q, keys, values, save_residuals=True)
    _, dk, dv = attention.backward(q, keys, values, out, logsumexp, do)
    assert dk.shape == keys.shape and dv.shape == values.shape
    for b in range(2):
        one = attention.backward(q[b], keys[b], values[b], out[b], logsumexp[b], do[b])
        np.testing.assert_array_equal(dk[b], one[1])
        np.testing.assert_array_equal(dv[b], one[2])


def test_bfloat16():
    bfloat16 = jnp.bfloat16.dtype
    q, k, v = inputs(dtype=bfloat16)
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    out = attention(q, k, v)
    assert out.dtype == bfloat16
    want = attention(*(x.astype(np.float32) for x in (q, k, v)))
    # Weights may have been rounded to bfloat16, as the output is.
    np.testing.assert_allclose(out.astype(np.float32), want, atol=2e-2)
    assert np.abs(out.astype(np.float32) - want).mean() < 1e-3


def test_strides_batches_and_shared_heads():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    batches = [inputs(seed=seed) for seed in range(3)]
    want = np.stack([attention(*batch) for batch in batches])
    q, k, v = (np.stack(parts) for parts in zip(*batches))
    np.testing.assert_array_equal(attention(q, k, v), want)
    # [batch, length, heads, dim] in memory.
    strided = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (q, k, v)]
    np.testing.assert_array_equal(attention(*strided), want)
    # [batch, heads, dim, length] in memory, backwards, every other one.
    odd = [np.ascontiguousarray(x.swapaxes(2, 3)[..., ::-1].repeat(2, 3))[..., ::-2].swapaxes(2, 3)
           for x in (q, k, v)]
    np.testing.assert_array_equal(attention(*odd), want)
    one = [x[:, 0] for x in (k, v)]
    shared = attention(q, *(np.repeat(x[:, None], 2, 1) for x in one))
    np.testing.assert_array_equal(attention(q, *one), shared)
    np.testing.assert_array_equal(attention(q[0], one[0][0], one[1][0]), shared[0])


def test_arrays_of_others_are_read_where_they_are():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    q, k, v = inputs()
    want = attention(q, k, v)
    np.testing.assert_array_equal(attention(*(jax.device_put(x) for x in (q, k, v))), want)
    out = np.full_like(want, np.nan)
    assert attention(q, k, v, out=out) is out
    np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize("compat", [None, "jax"])
def test_segment_ids_of_each_sequence(compat):
    attention = sm.SplashAttention(compiled(MASKS["causal"]), compat=compat)
    batches = [inputs(seed=seed) for seed in range(3)]
    ids = [tuple(np.arange(n) // (40 + 30 * seed) for n in SHAPE) for seed in range(3)]
    q, k, v = (np.stack(parts) for parts in zip(*batches))
    of_each = tuple(map(np.stack, zip(*ids)))
    out, logsumexp = attention(q, k, v, of_each, save_residuals=True)
    gradients = attention.backward(q, k, v, out, logsumexp, out, of_each)
    for b, (one, segment_ids) in enumerate(zip(batches, ids)):
        want, want_logsumexp = attention(*one, segment_ids, save_residuals=True)
        np.testing.assert_array_equal(out[b], want)
        np.testing.assert_array_equal(logsumexp[b], want_logsumexp)
        for got, of_one in zip(gradients, attention.backward(*one, want, want_logsumexp, want, segment_ids)):
            np.testing.assert_array_equal(got[b], of_one)
    # One side of each sequence, the other shared.
    shared = attention(q, k, v, (of_each[0], ids[1][1]))
    np.testing.assert_array_equal(shared[1], out[1])
    assert not np.array_equal(shared[0], out[0])


@pytest.mark.parametrize("change, error, text", [
    (lambda q, k, v: (q[:, :100], k, v), ValueError, "expected q, as the plan has it"),
    (lambda q, k, v: (q, k[:, :100], v[:, :100]), ValueError, "expected k, as the plan and q have it"),
    (lambda q, k, v: (q.astype(np.float64), k, v), TypeError, "q of float32 or bfloat16, got float64"),
    (lambda q, k, v: (q, k.astype(np.int32), v), TypeError, "k of float32 or bfloat16, got int32"),
    (lambda q, k, v: (q[0], k, v), ValueError, "q of rank 3 or 4"),
    (lambda q, k, v: (q, k[None], v), ValueError, "k of rank 2 or 3"),
    (lambda q, k, v: (q, k[[0, 1, 0]], v[[0, 1, 0]]), ValueError, "heads of k (3) to divide"),
    (lambda q, k, v: (q, k, v, (np.zeros(256), np.zeros(384))), ValueError,
     "expected q segment ids to be integers of shape (256,), got float64 of shape (256,)"),
    (lambda q, k, v: (q, k, v, (np.zeros(255, int), np.zeros(384, int))), ValueError,
     "expected q segment ids to be integers of shape (256,), got int64 of shape (255,)"),
    *((lambda q, k, v, shape=shape: (*(np.stack([x, x]) for x in (q, k, v)),
                                     (np.zeros(256, int), np.zeros(shape, int))), ValueError,
       f"expected kv segment ids to be integers of shape (384,) or (2, 384), got int64 of shape {shape}")
      for shape in ((2, 192), (3, 384), (768,), (1, 384))),
    (lambda q, k, v: (q, k, v, None, np.zeros(3)), ValueError, "a sink for each of 4 heads, got 3"),
])
def test_bad_input(change, error, text):
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    with pytest.raises(error) as caught:
        attention(*change(*inputs()))
    assert text in str(caught.value) and isinstance(caught.value, sm.Error)


def test_what_is_no_plan_or_option():
    plan = compiled(MASKS["causal"])
    for make, text in [
            (lambda: sm.SplashAttention(MASKS["causal"]), "expected a Plan, which compile(mask) makes and"),
            (lambda: sm.SplashAttention("plan.h5"), "got str"),
            (lambda: sm.trace(MASKS["causal"]), "[trace] expected a Plan"),
            (lambda: sm.trace(plan, None), "expected a pass fwd, dq or dkv, got None"),
            (lambda: sm.SplashAttention(plan, threads=-1), "threads to be at least 0, got -1"),
            (lambda: sm.SplashAttention(plan, attn_logits_soft_cap="5"), "a positive number, got '5'"),
            (lambda: sm.SplashAttention(plan, block_kv_compute=64), "beside compat='jax' alone"),
            (lambda: sm.SplashAttention(plan, compat="jax", block_kv_compute=0), "at least 1, got 0")]:
        with pytest.raises(sm.Error) as caught:
            make()
        assert text in str(caught.value)


class Foreign:
    """An array of another library: DLPack, and nothing else."""

    def __init__(self, array):
        self.array = array
        self.__dlpack_device__ = array.__dlpack_device__

    def __dlpack__(self, *args, **options):
        return self.array.__dlpack__(*args, **options)


def test_bfloat16_of_other_libraries():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in inputs())
    want = attention(*(np.asarray(x) for x in (q, k, v)))
    got = attention(*(Foreign(x) for x in (q, k, v)))
    assert got.dtype == want.dtype and np.array_equal(got, want)


def test_arrays_that_cannot_be_read_or_written():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    q, k, v = inputs()

    class Broken:
        def __array__(self, *args, **options):
            raise RuntimeError("it is on the moon")

    with pytest.raises(sm.Error, match="cannot read q: it is on the moon"):
        attention(Broken(), k, v)
    with pytest.raises(TypeError, match="k of float32 or bfloat16, got >f4"):
        attention(q, k.astype(">f4"), v)
    out = np.empty_like(q)
    out.flags.writeable = False
    for one in (out, jnp.zeros(q.shape)):
        with pytest.raises(sm.Error, match="expected out that can be written, got a read-only array"):
            attention(q, k, v, out=one)


def test_outputs_that_cannot_be():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    q, k, v = inputs()
    with pytest.raises(sm.Error, match="expected out of shape"):
        attention(q, k, v, out=np.zeros((4, 256, 32), np.float32))
    with pytest.raises(sm.Error, match="expected out apart from q"):
        attention(q, k, v, out=q)
    with pytest.raises(sm.Error, match="a plan with the pass fwd"):
        sm.SplashAttention(compiled(MASKS["causal"], passes=("dkv",)))
    fwd = sm.SplashAttention(compiled(MASKS["causal"], passes=("fwd",)))
    out, logsumexp = fwd(q, k, v, save_residuals=True)
    with pytest.raises(sm.Error, match="a plan with the passes dq and dkv"):
        fwd.backward(q, k, v, out, logsumexp, out)
    with pytest.raises(sm.Error, match="a positive attn_logits_soft_cap"):
        sm.SplashAttention(compiled(MASKS["causal"]), attn_logits_soft_cap=-1)


def test_segment_ids_and_residuals_that_cannot_be():
    attention = sm.SplashAttention(compiled(MASKS["causal"]))
    q, k, v = inputs()
    ids = [np.zeros(n, np.int64) for n in SHAPE]
    with pytest.raises(sm.Error, match="kv segment ids that int32 holds"):
        attention(q, k, v, (ids[0], ids[1] + 2**32))
    with pytest.raises(sm.Error, match="a pair, of q and of kv, got 3 of them"):
        attention(q, k, v, (*ids, ids[0]))
    with pytest.raises(sm.Error, match=r"expected out of shape \(4, 256, 64\), got \[\]"):
        attention(q, k, v, out=[])
    out, logsumexp = attention(q, k, v, save_residuals=True)
    with pytest.raises(sm.Error, match=r"expected logsumexp of shape \(4, 256\), got \(256, 4\)"):
        attention.backward(q, k, v, out, logsumexp.T, out)


def test_sinks_get_nothing_from_rows_that_see_nothing():
    mask = sm.CausalMask(SHAPE, -2)  # Rows 0 and 1 see nothing.
    attention = sm.SplashAttention(compiled(mask))
    q, k, v = inputs()
    do = np.ones_like(q)
    sinks = np.float32([0, -np.inf, 1, -1])

    def gradients(do):
        out, logsumexp = attention(q, k, v, None, sinks, save_residuals=True)
        return attention.backward(q, k, v, out, logsumexp, do, None, sinks)

    want = gradients(do)
    assert all(np.isfinite(x).all() for x in want) and want[3][1] == 0 and (want[3][[0, 2, 3]] != 0).all()
    do[:, 0, 0] = np.nan
    for got, expected in zip(gradients(do), want):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("call", ["load", "save", "verify", "attention"])
def test_a_signal_at_any_moment_is_python_s_exception(call, tmp_path):
    class Rang(Exception):
        pass

    def ring(*_):
        raise Rang

    plan = compiled(MASKS["partial_blocks"])
    path = str(tmp_path / "plan.h5")
    plan.save(path)
    attention = sm.SplashAttention(plan, compat="jax", threads=1)
    arrays = inputs(dim=8)
    work = {"load": lambda: sm.load(path), "save": lambda: plan.save(path), "verify": plan.verify,
            "attention": lambda: attention(*arrays)}[call]
    seconds = min(timeit.repeat(work, number=1, repeat=10))  # What nothing else held up.
    before = signal.signal(signal.SIGALRM, ring)
    rang = 0
    try:
        for number in range(60):
            try:
                signal.setitimer(signal.ITIMER_REAL, max(1e-5, seconds * (0.2 + number / 60)))
                work()
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Rang:
                rang += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rang > 0
    work()  # Nothing is left behind.
