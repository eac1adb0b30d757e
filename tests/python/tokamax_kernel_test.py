# SPDX-License-Identifier: Apache-2.0
"""tokamax's own kernel, interpreted on the CPU: our tables give the bits that its own tables give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokamax_reference
from comparison import assert_same_array
from mask_cases import MaskBuilder
from tokamax._src.ops.experimental.tpu.splash_attention import base as tk_base
from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_kernel as splash
from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask_info as tk_info
from tokamax_reference import TokamaxCase
from untouched import untouched

import splashmask
import splashmask.tokamax as smt

HEAD_DIM = 64


def _config(block, dq_reduction_steps=None, **options):
    return splash.SplashConfig(
        block_q=block[0],
        block_kv=block[1],
        block_q_dkv=block[0],
        block_kv_dkv=block[1],
        dq_reduction_steps=dq_reduction_steps,
        interpret=True,
        **options,
    )


def _kernels(expr, arrays, name, **options):
    """tokamax's kernel with its own tables, and with ours."""
    mask = tokamax_reference.to_tokamax(expr.make())
    theirs = getattr(splash, name)(mask, **options)
    original = tk_info.process_mask
    with untouched(tk_info):
        ours = getattr(smt, name)(
            splashmask.parse(expr.text, mask.shape, arrays=arrays), **options)
        with smt.patched():
            assert tk_info.process_mask is not original
            patched = getattr(splash, name)(mask, **options)
    assert tk_info.process_mask is original
    for infos in zip(ours.tree_flatten()[0], patched.tree_flatten()[0]):
        jax.tree_util.tree_map(np.testing.assert_array_equal, *infos)
    return theirs, ours


def _inputs(shape, heads, kv_heads, dtype):
    rng = np.random.default_rng(0)
    kv_shape = (shape[1],) if kv_heads == 0 else (kv_heads, shape[1])
    shapes = [(heads, shape[0]), kv_shape, kv_shape, (heads, shape[0])]
    return [jnp.asarray(rng.normal(size=(*s, HEAD_DIM)), dtype) for s in shapes]


@jax.jit
def _run(kernel, q, k, v, do, segment_ids, sinks):
    out, pullback = jax.vjp(lambda *x: kernel(*x, segment_ids, sinks), q, k, v)
    return out, *pullback(do)


def _dense_reference(values, q, k, v, soft_cap):
    logits = jnp.einsum("hqd,hkd->hqk", q, k)
    if soft_cap is not None:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    weights = jax.nn.softmax(jnp.where(jnp.asarray(values), logits, -1e30))
    return jnp.einsum("hqk,hkd->hqd", weights, v)


def _dense_blocks(shape, block):
    """Empty, full and partial blocks, some of them equal; every row sees its diagonal."""
    rng = np.random.default_rng(1)
    patterns = rng.random((4, *block)) < 0.4
    patterns[0], patterns[1] = False, True
    grid = rng.integers(4, size=(shape[0] // block[0], shape[1] // block[1]))
    array = patterns[grid].swapaxes(1, 2).reshape(shape)
    return array | np.eye(*shape, dtype=bool)


# Name of the mask, shape, block, options.
CASES = {
    "causal": ("causal", (384, 384), (128, 128), {}),
    "causal, three dq steps": ("causal", (384, 384), (128, 128), dict(dq_reduction_steps=3)),
    "kv blocks that nothing sees": ("causal", (256, 512), (128, 128), dict(dq_reduction_steps=3)),
    "local, gqa": ("local", (512, 512), (128, 256), dict(heads=4)),
    "chunked, mqa": ("chunked", (384, 384), (128, 128), dict(kv_heads=0)),
    "composition": ("composition", (384, 384), (128, 128), {}),
    "dense, three dq steps": ("dense", (384, 512), (128, 128), dict(dq_reduction_steps=3)),
    "dense, bfloat16, soft cap": (
        "dense", (384, 384), (128, 128), dict(dtype=jnp.bfloat16, attn_logits_soft_cap=20.0)),
    "segment ids and sinks": ("composition", (256, 256), (128, 128), dict(segments=True)),
    "reordered": ("reordered", (384, 384), (128, 128), dict(dq_reduction_steps=3)),
    "all full": ("full", (256, 256), (128, 128), {}),
}


def _mask(name, builder, block):
    if name == "causal":
        return builder.causal()
    if name == "local":
        return builder.local(100, 20)
    if name == "chunked":
        return builder.chunked_causal(200)
    if name == "composition":
        return builder.combine("|", builder.local(100, 0), builder.chunked_causal(150))
    if name == "dense":
        return builder.dense(_dense_blocks(builder.shape, block))
    if name == "full":
        return builder.full()
    positions = np.random.default_rng(2).permutation(builder.shape[0]).astype(np.int32)
    return builder.causal(0, positions, f'"{builder.add_array("q", positions)}"')


def _assert_same_bits(name, want, got):
    for field, expected, actual in zip(("out", "dq", "dk", "dv"), want, got, strict=True):
        # As bits, so that no NaN and no sign of zero is equal to another.
        unsigned = np.uint16 if expected.dtype == jnp.bfloat16 else np.uint32
        bits = [np.asarray(x).view(unsigned) for x in (expected, actual)]
        assert_same_array(f"{name}: {field}", *bits)
        assert np.isfinite(np.asarray(expected, np.float32)).all(), field


@pytest.mark.parametrize("case", CASES)
def test_our_tables_give_the_same_bits(case):
    name, shape, block, options = CASES[case]
    options = dict(options)
    heads, kv_heads = options.pop("heads", 2), options.pop("kv_heads", 2)
    dtype, segments = options.pop("dtype", jnp.float32), options.pop("segments", False)
    builder = MaskBuilder(shape, block)
    expr = _mask(name, builder, block)
    config = _config(block, **options)
    make = f"make_splash_{'mha' if kv_heads else 'mqa'}_single_device"
    theirs, ours = _kernels(expr, builder.arrays, make, config=config)
    inputs = _inputs(shape, heads, kv_heads, dtype)
    extra = (None, None)
    if segments:
        ids = jnp.asarray(np.repeat([3, 1], [shape[0] // 3, shape[0] - shape[0] // 3]), jnp.int32)
        extra = (tk_base.SegmentIds(q=ids, kv=ids), jnp.asarray([0.5, -1.0], jnp.float32))
    got = _run(ours, *inputs, *extra)
    _assert_same_bits(case, _run(theirs, *inputs, *extra), got)
    if segments or not kv_heads:
        return
    q, k, v = (x.astype(jnp.float32) for x in inputs[:3])
    k, v = (jnp.repeat(x, heads // kv_heads, axis=0) for x in (k, v))
    values = TokamaxCase(shape, expr, builder.arrays, block).values()
    dense = _dense_reference(values, q, k, v, config.attn_logits_soft_cap)
    tolerance = 2e-2 if dtype == jnp.bfloat16 else 1e-4
    np.testing.assert_allclose(np.asarray(got[0], np.float32), dense, atol=tolerance, rtol=0.02)


def _shard(kernel, i, count):
    """What shard_map gives device i of `count` along q: an equal piece of every list."""

    def piece(info):
        pieces = {name: np.split(np.asarray(field), count)[i]
                  for name, field in info._asdict().items()
                  if field is not None and name != "partial_mask_blocks"}
        return info._replace(**{name: jnp.asarray(field) for name, field in pieces.items()})

    infos = piece(kernel.fwd_mask_info), piece(kernel.dkv_mask_info)
    return splash.SplashAttentionKernel(*infos, **kernel.kwargs)


@pytest.mark.parametrize("name", ["causal", "dense"])
def test_q_shards_give_the_same_bits(name):
    shape, block, shards = (512, 512), (128, 128), 2
    builder = MaskBuilder(shape, block)
    expr = _mask(name, builder, block)
    make, config = "make_splash_mha", _config(block, dq_reduction_steps=3)
    theirs, ours = _kernels(
        expr, builder.arrays, make, config=config, q_seq_shards=shards)
    q, k, v, do = _inputs(shape, 2, 2, jnp.float32)
    outputs = []
    for i in range(shards):
        inputs = jnp.split(q, shards, axis=1)[i], k, v, jnp.split(do, shards, axis=1)[i]
        want, got = (_run(_shard(kernel, i, shards), *inputs, None, None)
                     for kernel in (theirs, ours))
        _assert_same_bits(f"{name}, shard {i}", want, got)
        outputs.append(got[0])
    values = TokamaxCase(shape, expr, builder.arrays, block).values()
    dense = _dense_reference(values, q, k, v, None)
    np.testing.assert_allclose(jnp.concatenate(outputs, axis=1), dense, atol=1e-4, rtol=0.02)


@pytest.mark.parametrize("dq_reduction_steps", [None, 3])
def test_simplify_lets_the_kernel_compute_the_mask(dq_reduction_steps):
    shape, block = (384, 384), (128, 128)
    mask = ((splashmask.ChunkedCausalMask(shape, 200) | splashmask.LocalMask(shape, (90, 0), 0)) ^
            splashmask.stride(shape, 384, 7))
    config = _config(block, dq_reduction_steps=dq_reduction_steps)
    stored = smt.make_splash_mha_single_device(mask, config=config)
    computed = smt.make_splash_mha_single_device(mask, config=config, simplify=True)
    assert stored.fwd_mask_info.partial_mask_blocks is not None
    assert computed.fwd_mask_info.partial_mask_blocks is None
    assert computed.kwargs["mask_function"] is not None
    inputs = _inputs(shape, 2, 2, jnp.float32)
    want, got = (_run(kernel, *inputs, None, None) for kernel in (stored, computed))
    for name, expected, ours in zip(("out", "dq", "dk", "dv"), want, got, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_masks_known_at_run_time_stay_tokamax_s():
    shape, block = (256, 256), (128, 128)
    array = _dense_blocks(shape, block)
    with smt.patched():
        kernel = smt.make_dynamic_splash_mha(jnp.asarray(array), config=_config(block))
    static = smt.make_splash_mha_single_device(array, config=_config(block, dq_reduction_steps=3))
    inputs = _inputs(shape, 2, 2, jnp.float32)
    want, got = (_run(one, *inputs, None, None) for one in (static, kernel))
    for name, expected, ours in zip(("out", "dq", "dk", "dv"), want, got, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5, err_msg=name)
