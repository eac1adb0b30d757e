# SPDX-License-Identifier: Apache-2.0
"""JAX on the CPU: the same call as on a TPU, run by our executor, beside JAX's kernel interpreted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

import splashmask as sm
import splashmask.jax as smj
from splashmask import jax_cpu

SHAPE = (256, 384)
HEADS, DIM = 4, 64


def block_sizes(fused=False, kv=128):
    sizes = dict(block_q=128, block_kv=kv, block_q_dkv=128, block_kv_dkv=kv)
    if not fused:
        sizes |= dict(block_q_dq=128, block_kv_dq=kv)
    return smj.BlockSizes(use_fused_bwd_kernel=fused, **sizes)


def inputs(kv_heads=2, dtype=jnp.float32, seed=0, shape=SHAPE):
    keys = jax.random.split(jax.random.key(seed), 4)
    q = jax.random.normal(keys[0], (HEADS, shape[0], DIM)) / DIM**0.5
    k, v = (jax.random.normal(key, (kv_heads, shape[1], DIM)) for key in keys[1:3])
    do = jax.random.normal(keys[3], q.shape)
    return [x.astype(dtype) for x in (q, k, v, do)]


def both(mask, make=smj.make_splash_mha_single_device, **options):
    """Ours, and JAX's interpreted."""
    options = dict(block_sizes=block_sizes()) | options
    mask = mask if hasattr(mask, "masks") or isinstance(mask, jax.Array) else (
        sm.MultiHeadMask([mask] * HEADS))
    return make(mask, **options), make(mask, interpret=True, **options)


def assert_close(got, want, tolerance=2e-5):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        a, b = (np.asarray(x, np.float32) for x in (a, b))
        assert np.abs(a - b).max() <= tolerance * np.abs(b).max().clip(1)


def grads(kernel, do, *extra):
    return jax.jit(jax.grad(lambda q, k, v: (kernel(q, k, v, *extra) * do).sum().astype(jnp.float32),
                            (0, 1, 2)))


MASKS = {
    "causal": sm.CausalMask(SHAPE, 100),
    "partial_blocks": sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (70, None), 0),
    "full": sm.FullMask(SHAPE),
    "zigzag": sm.zigzag(sm.CausalMask(SHAPE, 130), 4),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("fused", [False, True])
def test_like_the_interpreted_kernel(mask, fused):
    q, k, v, do = inputs()
    ours, theirs = both(mask, block_sizes=block_sizes(fused))
    assert_close(jax.jit(ours)(q, k, v), theirs(q, k, v))
    assert_close(grads(ours, do)(q, k, v), grads(theirs, do)(q, k, v))


def test_every_option():
    q, k, v, do = inputs()
    ids = smj.SegmentIds(jnp.arange(SHAPE[0]) // 100, jnp.arange(SHAPE[1]) // 100)
    sinks = jnp.linspace(-1, 1, HEADS)
    ours, theirs = both(MASKS["causal"], attn_logits_soft_cap=3.0, block_sizes=block_sizes(kv=384))
    assert_close(ours(q, k, v, ids, sinks), theirs(q, k, v, ids, sinks))

    def loss(kernel):
        return jax.grad(lambda q, k, v, sinks: (kernel(q, k, v, ids, sinks) * do).sum(), (0, 1, 2, 3))

    assert_close(loss(ours)(q, k, v, sinks), loss(theirs)(q, k, v, sinks))
    ours, theirs = both(MASKS["causal"], save_residuals=True, residual_checkpoint_name="kept")
    assert_close(ours(q, k, v, segment_ids=ids), theirs(q, k, v, segment_ids=ids))
    with pytest.raises(NotImplementedError, match="Higher-order AD"):
        jax.grad(lambda q: ours(q, k, v)[0].sum())(q)


def test_forward_alone_has_no_gradient():
    q, k, v, _ = inputs()
    sizes = smj.BlockSizes(block_q=128, block_kv=128)
    ours, theirs = both(MASKS["causal"], block_sizes=sizes)
    assert_close(ours(q, k, v), theirs(q, k, v))
    with pytest.raises(ValueError, match="backward blocks"):
        jax.grad(lambda q: ours(q, k, v).sum())(q)


@pytest.mark.parametrize("dtype, tolerance", [(jnp.bfloat16, 2e-2), (jnp.float16, 3e-3)])
def test_half_precision(dtype, tolerance):
    q, k, v, do = inputs(dtype=dtype)
    ours, theirs = both(MASKS["causal"])
    assert_close(ours(q, k, v), theirs(q, k, v), tolerance)
    assert_close(grads(ours, do)(q, k, v), grads(theirs, do)(q, k, v), tolerance)


def test_one_kv_head_without_its_axis():
    q, k, v, do = inputs(kv_heads=1)
    ours, theirs = both(MASKS["partial_blocks"], smj.make_splash_mqa_single_device)
    assert_close(ours(q, k[0], v[0]), theirs(q, k[0], v[0]))
    assert_close(grads(ours, do)(q, k[0], v[0]), grads(theirs, do)(q, k[0], v[0]))


def test_vmap_over_sequences_and_their_segments():
    ours, theirs = both(MASKS["causal"])
    q, k, v, do = (jnp.stack(x) for x in zip(*(inputs(seed=seed) for seed in range(3))))
    ids = smj.SegmentIds(jnp.stack([jnp.arange(SHAPE[0]) // n for n in (50, 100, 300)]),
                         jnp.stack([jnp.arange(SHAPE[1]) // n for n in (50, 100, 300)]))

    def loss(kernel):
        mapped = jax.vmap(lambda q, k, v, ids: kernel(q, k, v, ids))
        return jax.jit(jax.value_and_grad(lambda q, k, v: (mapped(q, k, v, ids) * do).sum(), (0, 1, 2)))

    assert_close(loss(ours)(q, k, v), loss(theirs)(q, k, v))


AXES = {  # Of q, k, v, the ids of q and of kv, sinks: where vmap finds its axis, outermost vmap first.
    "q_alone": [(0, None, None, None, None, None)],
    "ids_alone": [(None, None, None, 0, 0, None)],
    "kv_ids_alone": [(None, None, None, None, 0, None)],
    "sinks": [(0, 0, 0, 0, 0, 0)],
    "sinks_alone": [(None, None, None, None, None, 0)],
    "inner_axes": [(1, 2, 1, 0, 0, None)],
    "nested": [(0, 0, 0, None, 0, None), (0, 0, 0, 0, None, None)],
    "nested_apart": [(0, None, None, None, None, None), (None, 0, 0, None, 0, 0)],
}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
def test_vmap_over_some_operands(axes):
    ours, theirs = both(MASKS["causal"])
    q, k, v, do = inputs()
    operands = [q, k, v, jnp.arange(SHAPE[0]) // 90, jnp.arange(SHAPE[1]) // 90,
                jnp.linspace(-1, 1, HEADS)]
    for level in reversed(axes):  # The innermost one puts its axis in first.
        for i, axis in enumerate(level):
            if axis is not None:
                parts = [operands[i] * (1 + j) if i < 3 else operands[i] + j for j in range(2)]
                operands[i] = jnp.stack(parts, axis)

    def attention(kernel):
        def call(q, k, v, q_ids, kv_ids, sinks):
            return kernel(q, k, v, smj.SegmentIds(q_ids // 2, kv_ids // 2), sinks)

        for level in reversed(axes):
            call = jax.vmap(call, level)
        return call

    def gradients(kernel):
        def loss(q, k, v, sinks):
            out = attention(kernel)(q, k, v, *operands[3:5], sinks)
            return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum()
        return jax.jit(jax.grad(loss, (0, 1, 2, 3)))(*operands[:3], operands[5])

    assert_close(attention(ours)(*operands), attention(theirs)(*operands))
    assert_close(gradients(ours), gradients(theirs), 5e-5)


def test_vmap_of_one_kv_head():
    q, k, v, do = (jnp.stack(x) for x in zip(*(inputs(kv_heads=1, seed=seed) for seed in range(3))))
    ours, theirs = both(MASKS["partial_blocks"], smj.make_splash_mqa_single_device)
    assert_close(jax.vmap(ours)(q, k[:, 0], v[:, 0]), jax.vmap(theirs)(q, k[:, 0], v[:, 0]))

    def gradients(kernel):
        return jax.grad(lambda *x: (jax.vmap(kernel)(*x) * do).sum(), (0, 1, 2))

    assert_close(gradients(ours)(q, k[:, 0], v[:, 0]), gradients(theirs)(q, k[:, 0], v[:, 0]))


def test_many_output_gradients_of_one_forward_pass():
    ours, theirs = both(MASKS["causal"])
    q, k, v, _ = inputs()
    dos = jax.random.normal(jax.random.key(5), (3, *q.shape))
    assert_close(*(jax.vmap(jax.vjp(kernel, q, k, v)[1])(dos) for kernel in (ours, theirs)))


def test_64_bit_mode():
    q, k, v, do = inputs()
    ours, _ = both(MASKS["causal"])
    want, want_gradients = ours(q, k, v), grads(ours, do)(q, k, v)
    with jax.enable_x64(True):
        ours, _ = both(MASKS["causal"])
        assert_close(jax.jit(ours)(q, k, v), want, 0)
        assert_close(grads(ours, do)(q, k, v), want_gradients, 0)


@pytest.mark.parametrize("mask", [MASKS["causal"], MASKS["partial_blocks"]], ids=["computed", "stored"])
def test_shard_map(mask):
    shape = (512, 512)
    mask = sm.CausalMask(shape) if mask is MASKS["causal"] else (
        sm.CausalMask(shape) & sm.LocalMask(shape, (90, None), 0))
    heads = sm.MultiHeadMask([mask] * HEADS)
    mesh = Mesh(np.array(jax.devices("cpu")).reshape(2, 4), ("heads", "q_seq"))
    spec = P("heads", "q_seq")
    q, k, v, do = inputs(kv_heads=HEADS, shape=shape)

    def sharded(kernel):
        kernel_spec = kernel.manual_sharding_spec(NamedSharding(mesh, spec))
        call = jax.shard_map(lambda kernel, q, k, v: kernel(q, k, v), mesh=mesh,
                             in_specs=(kernel_spec, spec, P("heads"), P("heads")), out_specs=spec,
                             check_vma=False)
        return jax.jit(lambda q, k, v: (call(kernel, q, k, v), jax.grad(
            lambda *x: (call(kernel, *x) * do).sum(), (0, 1, 2))(q, k, v)))

    options = dict(block_sizes=block_sizes(), head_shards=2, q_seq_shards=4)
    ours = smj.make_splash_mha(heads, **options)
    assert isinstance(ours.manual_sharding_spec(NamedSharding(mesh, spec)), smj.SplashAttentionKernel)
    theirs, _ = both(heads)
    assert_close(sharded(ours)(q, k, v), (theirs(q, k, v), grads(theirs, do)(q, k, v)))
    assert_close(theirs(q, k, v), both(heads)[1](q, k, v))


def test_a_mask_known_at_run_time_only():
    cells = jax.random.bernoulli(jax.random.key(0), 0.3, (HEADS, *SHAPE)) | (jnp.arange(SHAPE[1]) == 0)
    q, k, v, do = inputs()

    def step(cells, interpret):
        kernel = smj.make_splash_mha_single_device(cells, block_sizes=block_sizes(),
                                                   interpret=interpret)
        return kernel(q, k, v), jax.grad(lambda q: (kernel(q, k, v) * do).sum())(q)

    step = jax.jit(step, static_argnames="interpret")
    assert_close(step(cells, False), step(cells, True))


def test_packed_documents():
    ids = np.repeat(np.arange(4), 64).astype(np.int32)[None].repeat(2, 0)
    ids[1] = np.arange(256) // 100
    tables = sm.compile_packed(ids, block_q=128, block_kv=128)
    rng = jax.random.split(jax.random.key(0), 3)
    q, k, v = (jax.random.normal(key, (2, HEADS, 256, DIM)) / 4 for key in rng)

    def attend(interpret):
        def one(tables, q, k, v, ids):
            kernel = smj.make_packed_splash_mha(tables, block_sizes=block_sizes(),
                                                interpret=interpret)
            return kernel(q, k, v, smj.SegmentIds(ids, ids))
        return jax.jit(jax.vmap(one))(tables, q, k, v, jnp.asarray(ids))

    assert_close(attend(False), attend(True))


def lowered(kernel, platform):
    q, k, v, do = inputs()
    step = jax.jit(jax.grad(lambda q: (kernel(q, k, v) * do).sum()))
    return step.trace(q).lower(lowering_platforms=(platform,)).as_text()


def test_the_platform_is_chosen_when_lowering():
    ours, _ = both(MASKS["partial_blocks"])
    cpu, tpu = lowered(ours, "cpu"), lowered(ours, "tpu")
    assert cpu.count("@splashmask_forward") == cpu.count("@splashmask_backward") == 1
    assert "tpu_custom_call" not in cpu and "callback" not in cpu
    assert tpu.count("tpu_custom_call") == 3 and "splashmask" not in tpu


def test_rows_that_see_nothing():
    mask = sm.LocalMask(SHAPE, (60, 20), -140)
    rows = np.asarray(mask[:, :]).any(1)
    assert 0 < rows.sum() < len(rows)
    q, k, v, do = inputs()
    ours, _ = both(mask, save_residuals=True)
    out, (logsumexp,) = ours(q, k, v)
    assert (out[:, ~rows] == 0).all() and (logsumexp[:, ~rows] == -np.inf).all()
    gradients = grads(both(mask)[0], do)(q, k, v)
    assert all(np.isfinite(x).all() for x in gradients) and (gradients[0][:, ~rows] == 0).all()


def test_equal_kernels_are_not_traced_again():
    q, k, v, _ = inputs()
    count = jax_cpu._call._cache_size()
    for _ in range(3):
        both(sm.CausalMask(SHAPE, 77))[0](q, k, v)
    assert jax_cpu._call._cache_size() <= count + 1


def thirds(q, kv):
    return ((q - kv) % 3 < 2) & (q + 60 >= kv)


class Own(jax_masks._ComputableMask):
    def __init__(self, function):
        super().__init__(SHAPE, function)
        self.function = function

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return isinstance(other, Own) and self.function == other.function


@pytest.mark.parametrize("mask", [
    sm.MultiHeadMask([sm.CustomMask(SHAPE, thirds)] * HEADS),
    sm.MultiHeadMask([sm.zigzag(sm.CustomMask(SHAPE, thirds), 4)] * HEADS),
    jax_masks.MultiHeadMask([Own(thirds)] * HEADS)], ids=["custom", "reordered", "jax_s"])
def test_functions_of_the_user_s(mask):
    q, k, v, do = inputs()
    ours, theirs = both(mask)
    assert isinstance(ours, jax_cpu.SplashAttentionKernel) and ours.kwargs["mask_function"] is thirds
    assert_close(jax.jit(ours)(q, k, v), theirs(q, k, v))
    assert_close(grads(ours, do)(q, k, v), grads(theirs, do)(q, k, v))


def test_a_function_in_jax_s_own_numbers_is_left_to_jax():
    ours, theirs = both(jax_masks.MultiHeadMask([Own(lambda q, kv: jnp.greater_equal(q, kv))] * HEADS))
    q, k, v, _ = inputs()
    assert not jax_cpu.can_run(ours.kwargs["mask_function"])
    with pytest.raises(ValueError, match="Only interpret mode is supported on CPU"):
        ours(q, k, v)
    assert theirs(q, k, v).shape == q.shape


def test_derivatives_of_gradients_are_refused():
    q, k, v, _ = inputs()
    ours, _ = both(MASKS["causal"])
    with pytest.raises(NotImplementedError, match="Higher-order AD not supported"):
        jax.grad(lambda q: jax.grad(lambda q: (ours(q, k, v) ** 2).sum())(q).sum())(q)
    with pytest.raises(NotImplementedError, match="Higher-order AD not supported"):
        jax.jvp(lambda do: jax.jvp(jax.vjp(ours, q, k, v)[1], (do,), (do,))[1], (q,), (q,))


def test_dtypes_that_no_kernel_takes():
    q, k, v, _ = inputs()
    ours, _ = both(MASKS["causal"])
    for operands, text in [((q.astype(jnp.int32), k, v), "q of float32, bfloat16 or float16, got int32"),
                           ((q, np.asarray(k, np.float64), v), "k of float32, .* got float64"),
                           ((q, k, 3), "v of float32, .* got int")]:
        with pytest.raises(TypeError, match=text) as caught:
            ours(*operands)
        assert isinstance(caught.value, sm.Error)


@pytest.mark.parametrize("change, text", [
    (lambda q, k, v: (q, k[:, :100], v[:, :100]), "k, as the plan and q have it,|kv_len|block"),
    (lambda q, k, v: (q[..., :32], k, v), "head dimension"),
])
def test_wrong_shapes(change, text):
    ours, _ = both(MASKS["partial_blocks"])
    with pytest.raises(Exception, match=text):
        jax.block_until_ready(ours(*change(*inputs()[:3])))


def test_a_checkpoint_policy_keeps_what_is_named():
    q, k, v, _ = inputs()
    kernel, _ = both(MASKS["causal"], residual_checkpoint_name="kept")

    def calls(policy):
        loss = jax.checkpoint(lambda q: jnp.sin(kernel(q, k, v) * 2).sum(), policy=policy)
        step = jax.jit(jax.value_and_grad(lambda q: loss(q)))
        return step.trace(q).lower(lowering_platforms=("tpu",)).as_text().count("@tpu_custom_call")

    policies = jax.checkpoint_policies
    assert calls(policies.save_only_these_names("kept")) == calls(policies.everything_saveable) == 3
    assert calls(policies.nothing_saveable) == 4


def test_what_cannot_be_is_refused_while_tracing():
    q, k, v, _ = inputs()
    ours, _ = both(MASKS["causal"])
    ids = [jnp.zeros(n, jnp.float32) for n in SHAPE]
    with pytest.raises(sm.Error, match="segment ids to be integers of at most 32 bits, got float32"):
        ours(q, k, v, smj.SegmentIds(*ids))
    with jax.enable_x64(True):
        wide = smj.SegmentIds(*(jnp.zeros(n, jnp.int64) for n in SHAPE))
        with pytest.raises(sm.Error, match="segment ids to be integers of at most 32 bits, got int64"):
            ours(q, jnp.repeat(k, 2, 0), jnp.repeat(v, 2, 0), wide)
    for cap in (0.0, -1.0, float("inf"), jnp.float32(3)):
        with pytest.raises(sm.Error, match="attn_logits_soft_cap to be a positive number"):
            both(MASKS["causal"], attn_logits_soft_cap=cap)
    mesh = Mesh(np.array(jax.devices("cpu")[:2]), ("heads",))
    with pytest.raises(sm.Error, match="shard_map with check_vma=False"):
        jax.shard_map(ours, mesh=mesh, in_specs=(P("heads"), P("heads"), P("heads")),
                      out_specs=P("heads"))(q, k, v)


def test_custom_calls_check_their_operands():
    q = jnp.zeros((1, 128, 64))
    table = jnp.ones((1, 1, 1), jnp.int32) * 2
    attributes = dict(has=0, fwd_has=0, block_q=128, block_kv=128, soft_cap=np.float32(0),
                      mask_function="")

    def call(q=q, k=q, table=table, extra=(), logsumexp=((1, 128), jnp.float32), **change):
        results = (jax.ShapeDtypeStruct((1, 128, 64), jnp.float32), jax.ShapeDtypeStruct(*logsumexp))
        function = jax.ffi.ffi_call("splashmask_forward", results)
        jax.block_until_ready(function(q, k, k, *extra, table * 0, table, **attributes | change))

    for change, text in [
            (dict(q=q[0, 0]), "q of rank 3, got 1"),
            (dict(q=q[None]), r"q with axes in front that broadcast to those of the results, \[\], got \[1\]"),
            (dict(q=q.astype(jnp.float16)), "q of float32 or bfloat16"),
            (dict(table=table[None]), "data_next with axes in front"),
            (dict(table=table[0]), "data_next of rank 3, got 2"),
            (dict(table=table.astype(jnp.float32)), "data_next of int8, int16 or int32"),
            (dict(logsumexp=((1, 128), jnp.bfloat16)), "logsumexp of float32"),
            (dict(logsumexp=((0,), jnp.float32)), "logsumexp of rank 2, got 1"),
            (dict(logsumexp=((1, 7), jnp.float32)), "logsumexp of 128 elements, got 7"),
            (dict(logsumexp=((1, 0), jnp.float32)), "logsumexp of every row"),
            (dict(has=1, extra=(jnp.zeros(128, jnp.int8),) * 2), "q segment ids of int32"),
            (dict(has=2, extra=(jnp.zeros(1, jnp.bfloat16),)), "sinks of float32"),
            (dict(fwd_has=2), "partial_mask_blocks, got no more operands"),
            (dict(mask_function="function:123456"), "a function of this process, got function:123456"),
            (dict(mask_function="function:x"), "a function of this process, got function:x"),
            (dict(logsumexp=((1, 1, 128), jnp.float32)), "logsumexp with axes in front"),
            (dict(k=q[:, :64]), "fwd: expected"),
    ]:
        with pytest.raises(Exception, match=text):
            call(**change)
    call()
