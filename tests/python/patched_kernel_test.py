# SPDX-License-Identifier: Apache-2.0
"""JAX's splash kernel under patched(), as unchanged code calls it, beside dense attention: the ground
that JAX's own kernel tests cover, in a fixed set of cases."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as mask_info
from untouched import untouched

import splashmask.jax as smj

HEAD_MINOR = splash.QKVLayout.HEAD_DIM_MINOR
SEQ_MINOR = splash.QKVLayout.SEQ_MINOR


def causal(shape):
    return masks.CausalMask(shape)


def full(shape):
    return masks.FullMask(shape)


def random(seed, density):
    def make(shape):
        array = np.random.default_rng(seed).random(shape) < density
        array[:, 0] = True  # No row without a cell: JAX's kernel leaves those undefined.
        return masks.NumpyMask(array)

    return make


def local(left, right, offset=0):
    def make(shape):
        return masks.LocalMask(shape, (left, right), offset) | masks.NumpyMask(
            np.eye(*shape, dtype=bool))

    return make


@dataclasses.dataclass(frozen=True)
class Case:
    heads: tuple[Callable, ...]  # A mask for each q head.
    kv_heads: int | None = None  # None: MQA, k and v without a head axis.
    lengths: tuple[int, int] = (512, 512)
    dims: tuple[int, int] = (64, 64)  # Of q and k, and of v.
    dtype: type = jnp.float32
    blocks: tuple[int, int, int] = (128, 128, 128)  # block_q, block_kv, block_kv_compute
    layouts: tuple = (HEAD_MINOR, HEAD_MINOR, HEAD_MINOR)
    soft_cap: float | None = None
    segmented: bool = False
    sinks: bool = False
    dynamic: bool = False
    fused: bool = False
    backward: bool = True

    def mask(self):
        return masks.MultiHeadMask([make(self.lengths) for make in self.heads])

    def cells(self):
        q_len, kv_len = self.lengths
        return np.stack([make(self.lengths)[:q_len, :kv_len] for make in self.heads])

    def block_sizes(self):
        q, kv, compute = self.blocks
        sizes = dict(block_q=q, block_kv=kv, block_kv_compute=compute,
                     **dict(zip(("q_layout", "k_layout", "v_layout"), self.layouts)))
        if self.backward:
            sizes |= dict(block_q_dkv=q, block_kv_dkv=kv, block_kv_dkv_compute=compute,
                          use_fused_bwd_kernel=self.fused)
            sizes |= {} if self.fused else dict(block_q_dq=kv, block_kv_dq=q)
        return splash.BlockSizes(**sizes)

    def inputs(self):
        (q_len, kv_len), (qk_dim, v_dim) = self.lengths, self.dims
        kv_lead = () if self.kv_heads is None else (self.kv_heads,)
        shapes = ((len(self.heads), q_len, qk_dim), (*kv_lead, kv_len, qk_dim),
                  (*kv_lead, kv_len, v_dim), (len(self.heads), q_len, v_dim))
        return [jax.random.uniform(key, shape, self.dtype)
                for key, shape in zip(jax.random.split(jax.random.key(7), 4), shapes)]

    def extra(self):
        """(segment_ids, sinks), as the kernel takes them."""
        q_len, kv_len = self.lengths
        assert q_len == kv_len or not self.segmented
        ids = np.sort(np.random.default_rng(8).integers(0, 4, q_len, np.int32))
        segments = splash.SegmentIds(ids, ids) if self.segmented else None
        return segments, jnp.linspace(0, 1, len(self.heads)) if self.sinks else None


CASES = {
    "one_causal_head": Case((causal,), 1, fused=True),
    "mqa": Case((causal, full, random(1, 0.3), local(100, 30))),
    "mqa_bfloat16_soft_cap": Case((local(70, None), causal), dtype=jnp.bfloat16, soft_cap=20.0),
    "mha_every_mask": Case((causal, full, random(2, 0.1), local(None, 60, -40)), 4),
    "gqa_wide": Case((causal, random(3, 0.4)) * 2, 2, lengths=(256, 768), dims=(128, 192)),
    "gqa_tall_fused": Case((causal, random(3, 0.4)) * 2, 2, lengths=(768, 256), dims=(192, 128),
                           fused=True),
    "rectangular_blocks": Case((local(90, 0), causal), 1, blocks=(128, 256, 128)),
    "tall_blocks_fused": Case((causal, causal), 2, blocks=(256, 128, 128), fused=True),
    "segments": Case((causal, causal), 2, segmented=True),
    "segments_partial_blocks_fused": Case((local(200, 10), causal), 1, segmented=True, fused=True),
    "sinks": Case((causal, local(100, 0)), 2, sinks=True),
    "sinks_soft_cap_mqa_fused": Case((full, full), soft_cap=5.0, sinks=True, fused=True),
    "sequence_minor": Case((causal, random(4, 0.2)), 2, layouts=(SEQ_MINOR,) * 3, backward=False),
    "mixed_layouts": Case((causal, full), 1, layouts=(HEAD_MINOR, SEQ_MINOR, HEAD_MINOR)),
    "wide_heads_bfloat16": Case((causal, causal), 1, dims=(256, 256), dtype=jnp.bfloat16),
    "dynamic": Case((random(5, 0.3), causal), 2, dynamic=True),
    "dynamic_mqa_segments_fused": Case((random(6, 0.3), causal), dynamic=True, segmented=True,
                                       fused=True),
}


def dense(case, q, k, v):
    """Attention by whole matrices in float32 -> (out, logsumexp)."""
    q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
    if case.kv_heads is None:
        k, v = k[None], v[None]
    k, v = (jnp.repeat(x, q.shape[0] // x.shape[0], axis=0) for x in (k, v))
    segments, sinks = case.extra()
    visible = case.cells()
    if segments is not None:
        visible = visible & (segments.q[:, None] == segments.kv)
    logits = jnp.einsum("hqd,hkd->hqk", q, k, precision="highest")
    if case.soft_cap is not None:
        logits = case.soft_cap * jnp.tanh(logits / case.soft_cap)
    logits = jnp.where(visible, logits, -jnp.inf)
    logsumexp = jax.nn.logsumexp(logits, axis=-1)
    if sinks is not None:
        logsumexp = jnp.logaddexp(logsumexp, sinks[:, None])
    weights = jnp.exp(logits - logsumexp[..., None])
    return jnp.einsum("hqk,hkd->hqd", weights, v, precision="highest"), logsumexp


def make_kernel(case, **options):
    make = splash.make_splash_mqa if case.kv_heads is None else splash.make_splash_mha
    mask = jnp.asarray(case.cells()) if case.dynamic else case.mask()
    return make(mask, block_sizes=case.block_sizes(), head_shards=1, q_seq_shards=1, interpret=True,
                attn_logits_soft_cap=case.soft_cap, **options)


def assert_close(want, got, tolerance, name):
    want, got = (np.asarray(x, np.float32) for x in (want, got))
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * np.abs(want).max(),
                               err_msg=name)


@pytest.fixture
def nothing_of_jax():
    """patched(), and an error should JAX make tables of a static mask itself."""
    with untouched(mask_info), smj.patched():
        yield


def with_gradients(attention, do):
    """(q, k, v) -> the output, and dq, dk, dv of sum(output * do), in one compilation."""
    def loss(*qkv):
        out = attention(*qkv)
        return (out.astype(jnp.float32) * do).sum(), out

    def run(*qkv):
        (_, out), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*qkv)
        return out, *gradients

    return jax.jit(run)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward_and_gradients(nothing_of_jax, case):
    q, k, v, do = case.inputs()
    tolerance = 2e-2 if case.dtype == jnp.bfloat16 else 2e-5
    kernel, extra = make_kernel(case), case.extra()

    def attention(*qkv):
        return kernel(*qkv, *extra)

    def reference(*qkv):
        return dense(case, *qkv)[0]

    if not case.backward:
        assert_close(reference(q, k, v), attention(q, k, v), tolerance, "out")
        return
    want, got = (with_gradients(f, do)(q, k, v) for f in (reference, attention))
    assert got[0].dtype == case.dtype
    assert_close(want[0], got[0], tolerance, "out")
    for name, expected, ours in zip(("dq", "dk", "dv"), want[1:], got[1:]):
        assert_close(expected, ours, 5 * tolerance, name)


@pytest.mark.parametrize("name", ["mqa", "gqa_wide", "segments", "sinks"])
def test_residuals(nothing_of_jax, name):
    case = CASES[name]
    q, k, v, _ = case.inputs()
    out, (logsumexp,) = make_kernel(case, save_residuals=True)(q, k, v, *case.extra())
    want_out, want_logsumexp = dense(case, q, k, v)
    assert_close(want_out, out, 2e-5, "out")
    assert_close(want_logsumexp, logsumexp, 2e-5, "logsumexp")
