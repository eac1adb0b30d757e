# SPDX-License-Identifier: Apache-2.0
"""compat="jax": everything that JAX's kernel, interpreted, answers, rows that see nothing and NaN
included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import splashmask as sm
import splashmask.jax as smj

SHAPE = (256, 384)
HEADS, DIM = 4, 64


def some(mask):
    """`mask` where row 5 and rows 128.. (a whole block row) see nothing."""
    cells = np.array(mask[:, :])
    cells[5] = False
    cells[128:] = False
    return sm.NumpyMask(cells)


MASKS = {
    "causal": sm.CausalMask(SHAPE, 100),
    "partial_blocks": sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (70, None), 0),
    "chunked": sm.ChunkedCausalMask(SHAPE, 96),
    "full": sm.FullMask(SHAPE),
    "reordered": sm.zigzag(sm.CausalMask(SHAPE), 4),
    "empty_rows": some(sm.FullMask(SHAPE)),
    "computed_empty_rows": sm.LocalMask(SHAPE, (60, 20), -140),
}
EXTRAS = ["segment_ids", "sinks", "soft_cap", "compute", "nan"]


class Case:
    def __init__(self, mask, extra, dtype=np.float32, kv_heads=2):
        rng = np.random.default_rng(7)
        shapes = (HEADS, SHAPE[0], DIM), (kv_heads, SHAPE[1], DIM), (kv_heads, SHAPE[1], DIM)
        q, k, v = (rng.standard_normal(shape, np.float32) for shape in shapes)
        if extra == "nan":
            v[0, 200, 3] = np.nan
            k[1, 40, 9] = np.inf
        self.q, self.k, self.v = (x.astype(dtype) for x in (q / np.sqrt(np.float32(DIM)), k, v))
        self.do = rng.standard_normal(q.shape, np.float32).astype(dtype)
        self.mask = sm.MultiHeadMask([mask] * HEADS)
        self.cap = 3.0 if extra == "soft_cap" else None
        self.sinks = np.linspace(-1, 1, HEADS, dtype=np.float32) if extra == "sinks" else None
        self.ids = tuple(np.arange(n, dtype=np.int32) // 130
                         for n in SHAPE) if extra == "segment_ids" else None
        self.compute = 128 if extra == "compute" else None

    def blocks(self, fused):
        kv = 384 if self.compute else 128
        sizes = dict(block_q=128, block_kv=kv, block_q_dkv=128, block_kv_dkv=kv,
                     block_kv_compute=self.compute, block_kv_dkv_compute=self.compute)
        return sizes if fused else sizes | dict(block_q_dq=128, block_kv_dq=kv)

    def kernel(self, fused=False, **options):
        kernel = smj.make_splash_mha_single_device(
            self.mask, interpret=True, attn_logits_soft_cap=self.cap,
            block_sizes=smj.BlockSizes(use_fused_bwd_kernel=fused, **self.blocks(fused)), **options)
        ids = None if self.ids is None else smj.SegmentIds(*map(jnp.asarray, self.ids))
        return lambda q, k, v, sinks: kernel(q, k, v, ids, sinks)

    def attention(self, fused=False, compat="jax"):
        plan = sm.compile(self.mask, block_q=128, block_kv=384 if self.compute else 128,
                          use_fused_bwd_kernel=fused)
        return sm.SplashAttention(plan, attn_logits_soft_cap=self.cap, compat=compat,
                                  block_kv_compute=self.compute, block_kv_dkv_compute=self.compute)


def assert_same(got, want, tolerance, name=""):
    got, want = (np.asarray(x, np.float32) for x in (got, want))
    finite = np.isfinite(want)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want), err_msg=name)
    np.testing.assert_array_equal(got[~finite], want[~finite], err_msg=name)
    # A gradient is a sum over many pairs, of which each may be as large as the largest.
    scale = np.abs(want[finite]).clip(1) if name == "" else np.abs(want[finite]).max(initial=1)
    worst = np.abs(got[finite] / scale - want[finite] / scale).max(initial=0)
    assert worst <= tolerance, (name, worst)


# JAX takes a second or two for each.
TRICKY = ["partial_blocks", "computed_empty_rows"]
CASES = [(mask, "") for mask in MASKS] + [(mask, extra) for mask in TRICKY for extra in EXTRAS]


@pytest.mark.parametrize("mask, extra", CASES)
def test_forward(mask, extra):
    case = Case(MASKS[mask], extra)
    want, (want_logsumexp,) = case.kernel(save_residuals=True)(case.q, case.k, case.v, case.sinks)
    out, logsumexp = case.attention()(case.q, case.k, case.v, case.ids, case.sinks,
                                      save_residuals=True)
    assert_same(out, want, 1e-5)
    assert_same(logsumexp, want_logsumexp, 1e-5)


@pytest.mark.parametrize("mask, extra, fused", [
    *((mask, extra, False) for mask, extra in CASES),
    *((mask, extra, True) for mask in TRICKY for extra in ("", "sinks", "soft_cap", "compute"))])
def test_gradients(mask, extra, fused):
    case = Case(MASKS[mask], extra)
    arguments = (0, 1, 2) if case.sinks is None else (0, 1, 2, 3)
    kernel = case.kernel(fused)
    want = jax.grad(lambda *x: (kernel(*x) * case.do).sum(), arguments)(
        case.q, case.k, case.v, case.sinks)
    attention = case.attention(fused)
    out, logsumexp = attention(case.q, case.k, case.v, case.ids, case.sinks, save_residuals=True)
    got = attention.backward(case.q, case.k, case.v, out, logsumexp, case.do, case.ids, case.sinks)
    assert len(got) == len(want)
    for name, ours, theirs in zip(("dq", "dk", "dv", "sinks"), got, want):
        assert_same(ours, theirs, 1e-5, name)


@pytest.mark.parametrize("fused", [False, True])
def test_bfloat16(fused):
    case = Case(MASKS["partial_blocks"], "", jnp.bfloat16.dtype, kv_heads=4)
    kernel = case.kernel(fused)
    want, pullback = jax.vjp(lambda q, k, v: kernel(q, k, v, None), case.q, case.k, case.v)
    attention = case.attention(fused)
    out, logsumexp = attention(case.q, case.k, case.v, save_residuals=True)
    assert_same(out, want, 8e-3)
    got = attention.backward(case.q, case.k, case.v, out, logsumexp, case.do)
    for name, ours, theirs in zip(("dq", "dk", "dv"), got, pullback(jnp.asarray(case.do))):
        assert ours.dtype == case.q.dtype
        assert_same(ours, theirs, 2e-2, name)


def test_where_both_answer_they_agree():
    case = Case(MASKS["causal"], "")
    fast, kept = (case.attention(compat=compat)(case.q, case.k, case.v) for compat in (None, "jax"))
    np.testing.assert_allclose(fast, kept, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options, text", [
    (dict(compat="tpu"), "expected compat to be 'jax' or None, got 'tpu'"),
    (dict(compat="jax", block_kv_compute=100), r"expected block_kv_compute \(100\) to divide"),
    (dict(compat="jax", block_kv_dkv_compute=256), r"expected block_kv_dkv_compute \(256\) to"),
])
def test_bad_input(options, text):
    plan = sm.compile(sm.MultiHeadMask([MASKS["causal"]]), block_q=128, block_kv=128)
    with pytest.raises(sm.Error, match=text):
        sm.SplashAttention(plan, **options)
