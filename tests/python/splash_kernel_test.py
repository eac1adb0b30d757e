# SPDX-License-Identifier: Apache-2.0
"""JAX's own splash attention kernel, interpreted on the CPU, on our tables and on JAX's."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as jax_kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from untouched import untouched

import splashmask as sm
import splashmask.jax as smj

SHAPE = (256, 384)
HEAD_DIM = 64


def block_sizes(fused=False):
    dq = {} if fused else dict(block_q_dq=128, block_kv_dq=128)
    return smj.BlockSizes(block_q=128, block_kv=128, block_kv_compute=128, block_q_dkv=128,
                          block_kv_dkv=128, block_kv_dkv_compute=128, use_fused_bwd_kernel=fused,
                          **dq)


def causal(m):
    return m.CausalMask(SHAPE, 100)


def window(m):
    return m.CausalMask(SHAPE) & m.LocalMask(SHAPE, (70, None), 0) | m.NumpyMask(
        np.eye(*SHAPE, dtype=bool))


def reordered(m):
    mask = m.ChunkedCausalMask(SHAPE, 96)
    mask.q_sequence = np.concatenate([np.arange(128, 256), np.arange(128)]).astype(np.int32)
    return mask


def inputs(num_heads, kv_heads, seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    kv_lead = () if kv_heads is None else (kv_heads,)
    q = jax.random.normal(keys[0], (num_heads, SHAPE[0], HEAD_DIM)) / HEAD_DIM**0.5
    k = jax.random.normal(keys[1], (*kv_lead, SHAPE[1], HEAD_DIM))
    v = jax.random.normal(keys[2], (*kv_lead, SHAPE[1], HEAD_DIM))
    return q, k, v, jax.random.normal(keys[3], q.shape)


def segment_ids():
    return smj.SegmentIds(jnp.arange(SHAPE[0]) // 100, jnp.arange(SHAPE[1]) // 100)


def run(kernel, q, k, v, do, *extra):
    """out, and dq, dk, dv of sum(out * do), in one compilation."""
    def loss(q, k, v):
        out = kernel(q, k, v, *extra)
        return (out * do).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(q, k, v)
    return dict(zip(("out", "dq", "dk", "dv"), (out, *gradients)))


def assert_identical(want, got):
    assert want.keys() == got.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(got[name]), err_msg=name)


# (mask, heads, kv heads (None: MQA), options, fused backward, segment ids, sinks)
CASES = {
    "mha": (causal, 2, 2, {}, False, False, False),
    "mha_fused_backward": (causal, 2, 2, {}, True, False, False),
    "gqa_partial_blocks": (window, 4, 2, {}, False, False, False),
    "gqa_partial_blocks_fused_backward": (window, 4, 2, {}, True, False, False),
    "mqa_soft_cap": (window, 2, None, dict(attn_logits_soft_cap=5.0), False, False, False),
    "reordered_q": (reordered, 2, 2, {}, False, False, False),
    "segment_ids": (causal, 2, 2, {}, False, True, False),
    "sinks": (causal, 2, 2, {}, False, False, True),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_same_numbers_as_with_jax_s_tables(case):
    make, num_heads, kv_heads, options, fused, segmented, sinks = case
    q, k, v, do = inputs(num_heads, kv_heads)
    extra = ([segment_ids() if segmented else None] +
             ([jnp.linspace(-1.0, 1.0, num_heads)] if sinks else []))
    options = dict(block_sizes=block_sizes(fused), interpret=True, head_shards=1, q_seq_shards=1,
                   **options)
    name = "make_splash_mqa" if kv_heads is None else "make_splash_mha"
    theirs = getattr(jax_kernel, name)(jax_masks.MultiHeadMask([make(jax_masks)] * num_heads),
                                       **options)
    ours = getattr(smj, name)(sm.MultiHeadMask([make(sm)] * num_heads), **options)
    assert type(ours) is jax_kernel.SplashAttentionKernel
    assert_identical(run(theirs, q, k, v, do, *extra), run(ours, q, k, v, do, *extra))


def test_logsumexp():
    q, k, v, _ = inputs(2, 2)
    options = dict(block_sizes=block_sizes(), interpret=True, save_residuals=True)
    theirs = jax_kernel.make_splash_mha(jax_masks.MultiHeadMask([window(jax_masks)] * 2),
                                        head_shards=1, q_seq_shards=1, **options)
    ours = smj.make_splash_mha_single_device(sm.MultiHeadMask([window(sm)] * 2), **options)
    (want, (want_logsumexp,)), (out, (logsumexp,)) = theirs(q, k, v), ours(q, k, v)
    np.testing.assert_array_equal(want, out)
    np.testing.assert_array_equal(want_logsumexp, logsumexp)


def test_sharded_over_eight_devices():
    """Heads over 2, q over 4."""
    assert jax.device_count() == 8
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("heads", "q"))
    shape = (512, 512)
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 512, HEAD_DIM)) for i in range(3))

    def apply(kernel):
        spec = kernel.manual_sharding_spec(NamedSharding(mesh, PartitionSpec("heads", "q")))
        q_spec, kv_spec = PartitionSpec("heads", "q"), PartitionSpec("heads", None)

        @jax.jit
        def step(kernel, q, k, v):
            sharded = jax.shard_map(lambda kernel, q, k, v: kernel(q, k, v), mesh=mesh,
                                    in_specs=(spec, q_spec, kv_spec, kv_spec), out_specs=q_spec,
                                    check_vma=False)
            loss = lambda q, k, v: (sharded(kernel, q, k, v)**2).sum()
            return sharded(kernel, q, k, v), jax.grad(loss, (0, 1, 2))(q, k, v)

        out, gradients = step(kernel, q, k, v)
        return dict(zip(("out", "dq", "dk", "dv"), (out, *gradients)))

    for make in (lambda m: m.CausalMask(shape),
                 lambda m: m.CausalMask(shape) & m.LocalMask(shape, (90, None), 0)):
        options = dict(block_sizes=block_sizes(), interpret=True, head_shards=2, q_seq_shards=4)
        theirs = jax_kernel.make_splash_mha(jax_masks.MultiHeadMask([make(jax_masks)] * 2), **options)
        ours = smj.make_splash_mha(sm.MultiHeadMask([make(sm)] * 2), **options)
        assert_identical(apply(theirs), apply(ours))


POSITIONAL = {
    "causal_and_local": lambda: sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (90, None), 0),
    "prefix_lm": lambda: sm.CausalMask(SHAPE) | sm.prefix(SHAPE, 60),
    "everything": lambda: ((sm.ChunkedCausalMask(SHAPE, 100) ^ sm.stride(SHAPE, 3)) -
                           ~(sm.q_range(SHAPE, 10, 90) | sm.kv_range(SHAPE, 0, 200)) |
                           sm.kv_range(SHAPE, 0, 1) & (sm.FullMask(SHAPE) - sm.empty(SHAPE))),
    "unbounded_local": lambda: sm.LocalMask(SHAPE, (None, None), 0),
    "zigzag": lambda: sm.zigzag(sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (90, None), 0), 1),
}


@pytest.mark.parametrize("make", POSITIONAL.values(), ids=POSITIONAL)
def test_simplify_lets_the_kernel_compute_the_mask(make):
    mask = sm.MultiHeadMask([make()] * 2)
    kernel = smj.make_splash_mha_single_device(mask, block_sizes=block_sizes(), interpret=True,
                                               simplify=True)
    assert kernel.fwd_mask_info.partial_mask_blocks is None
    assert kernel.fwd_mask_info.q_sequence is not None
    q, k, v, do = inputs(2, 2)
    got = run(kernel, q, k, v, do)
    reference = smj.make_masked_mha_reference(mask)
    want = run(lambda *args: reference(*args), q, k, v, do)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=2e-4, atol=2e-4, err_msg=name)


def test_equal_kernels_are_traced_once():
    traces = 0

    @jax.jit
    def step(kernel, q, k, v):
        nonlocal traces
        traces += 1
        return kernel(q, k, v)

    q, k, v, _ = inputs(2, 2)
    for make in (causal, reordered):
        for _ in range(3):
            kernel = smj.make_splash_mha_single_device(
                sm.MultiHeadMask([make(sm)] * 2), block_sizes=block_sizes(), interpret=True)
            step(kernel, q, k, v)
    assert traces == 2


def test_vmap():
    kernel = smj.make_splash_mha_single_device(sm.MultiHeadMask([causal(sm)] * 2),
                                               block_sizes=block_sizes(), interpret=True)
    batches = [inputs(2, 2, seed)[:3] for seed in range(2)]
    together = jax.vmap(kernel)(*(jnp.stack(parts) for parts in zip(*batches)))
    for one, parts in zip(together, batches):
        np.testing.assert_allclose(one, kernel(*parts), rtol=1e-5, atol=1e-5)


def test_patched_code_that_calls_jax(monkeypatch):
    heads = jax_masks.MultiHeadMask([window(jax_masks)] * 2)
    options = dict(block_sizes=block_sizes(), interpret=True, head_shards=1, q_seq_shards=1)
    q, k, v, do = inputs(2, 2)
    want = run(jax_kernel.make_splash_mha(heads, **options), q, k, v, do)
    original = jax_info.process_mask
    user = types.ModuleType("has_imported_the_names")
    user.process_mask, user.dkv = jax_info.process_mask, jax_info.process_mask_dkv
    monkeypatch.setitem(sys.modules, user.__name__, user)
    with untouched(jax_info), smj.patched():
        with smj.patched():
            assert user.process_mask is jax_info.process_mask is not original
        info, _ = user.process_mask(heads, (128, 128))
        assert type(info) is jax_info.MaskInfo
        assert type(user.dkv(heads, (128, 128))[0]) is jax_info.MaskInfo
        got = run(jax_kernel.make_splash_mha(heads, **options), q, k, v, do)
    assert user.process_mask is jax_info.process_mask is original
    assert_identical(want, got)


def test_nothing_falls_back_to_jax():
    for make in (causal, window, reordered):
        with untouched(jax_info):
            smj.make_splash_mha_single_device(jax_masks.MultiHeadMask([make(jax_masks)] * 2),
                                              block_sizes=block_sizes(), interpret=True)


def test_a_call_of_jax_is_seen():
    with pytest.raises(AssertionError, match="_process_mask was called"):
        with untouched(jax_info):
            jax_info.process_mask(jax_masks.MultiHeadMask([causal(jax_masks)]), (128, 128))


def test_dynamic_masks():
    array = np.random.default_rng(0).random((2, *SHAPE)) < 0.5
    options = dict(block_sizes=block_sizes(), interpret=True, head_shards=1, q_seq_shards=1)
    q, k, v, _ = inputs(2, 2)
    make = lambda module: module.make_splash_mha(jnp.asarray(array), **options)(q, k, v)
    np.testing.assert_array_equal(make(jax_kernel), make(smj))
    static = smj.make_splash_mha(array, **options)(q, k, v)
    np.testing.assert_allclose(static, make(smj), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes, text", [
    (dict(block_q=128, block_kv=64, block_kv_compute=64), "block_kv_compute (64)"),
    (dict(block_q=128, block_kv=128, block_q_dkv=128, block_kv_dkv=128, block_kv_dkv_compute=128,
          block_q_dq=128, block_kv_dq=64), "block_kv_dq (64)"),
])
def test_limits_of_the_kernel_are_told_early(sizes, text):
    with pytest.raises(sm.Error) as caught:
        smj.make_splash_mha_single_device(sm.MultiHeadMask([causal(sm)]),
                                          block_sizes=smj.BlockSizes(**sizes))
    assert text in str(caught.value) and "multiple of 128" in str(caught.value)


def test_masks_of_other_ranks():
    for mask in (sm.CausalMask(SHAPE), np.ones(SHAPE, bool), None):
        with pytest.raises(ValueError, match="num_heads, q_len, kv_len"):
            smj.make_splash_mha_single_device(mask)


def test_every_name_of_jax_s_module():
    inside = {"NN_DIM_NUMBERS", "NT_DIM_NUMBERS", "NUM_LANES", "NUM_SUBLANES",
              "flash_attention_kernel"}  # Of the kernel's body, which is JAX's on a TPU.
    names = {name for name, value in vars(jax_kernel).items() if not name.startswith("_") and (
        name.isupper() or getattr(value, "__module__", None) == jax_kernel.__name__
        or name.startswith("make_"))}
    assert len(names) > 15 and names - inside <= set(smj.__all__)
    assert all(hasattr(smj, name) for name in smj.__all__)


@pytest.mark.parametrize("backward_impl", ["vanilla", "flash"])
def test_references_take_our_masks(backward_impl):
    mask = sm.MultiHeadMask([sm.CausalMask((128, 128)), sm.LocalMask((128, 128), (9, 5), 0)])
    reference = smj.make_attention_reference(mask, False, backward_impl=backward_impl)
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 128, 32)) for i in range(3))
    kernel = smj.make_splash_mha_single_device(mask, block_sizes=smj.BlockSizes(
        block_q=128, block_kv=128, block_q_dkv=128, block_kv_dkv=128, block_q_dq=128, block_kv_dq=128))
    for function in (reference, kernel):
        out = function(q, k, v)
        gradients = jax.grad(lambda *x: (function(*x) ** 2).sum(), (0, 1, 2))(q, k, v)
        if function is reference:
            want = out, gradients
    for got, expected in zip(jax.tree.leaves((out, gradients)), jax.tree.leaves(want)):
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-4)
