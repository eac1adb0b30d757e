# SPDX-License-Identifier: Apache-2.0
"""JAX's real splash kernel (Pallas interpret mode) on the tables of packed batches: outputs and
gradients beside a dense masked reference and beside the same kernel with JAX's own tables."""

import functools

import jax
import jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_kernel as splash
import jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask as jax_masks
import jax.numpy as jnp
import numpy as np
import pytest

import splashmask as sm
import splashmask.jax as smj

LENGTH, BLOCK, BATCH, DIM = 512, 128, 2, 128


def causal(q, kv):
    return q >= kv


def local(q, kv):
    return (q >= kv) & (q - 150 <= kv)


MASKS = {"causal()": causal, "local(150, 0)": local}
JAX_MASKS = {
    "causal()": jax_masks.CausalMask((LENGTH, LENGTH)),
    "local(150, 0)": jax_masks.LocalMask((LENGTH, LENGTH), (150, 0), 0),
}


def block_sizes(fused):
    return splash.BlockSizes(
        block_q=BLOCK, block_kv=BLOCK, block_q_dkv=BLOCK, block_kv_dkv=BLOCK,
        block_q_dq=None if fused else BLOCK, block_kv_dq=None if fused else BLOCK,
        use_fused_bwd_kernel=fused)


def with_gradients(attention):
    """(q, k, v, do) -> output and the gradients of sum(output * do)."""
    def run(q, k, v, do):
        def loss(*qkv):
            out = attention(*qkv)
            return (out * do).sum(), out

        (_, out), gradients = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v)
        return out, *gradients

    return run


def packed_step(mask, fused, over_batch=jax.vmap):
    """A jitted training step; everything that a batch changes is an argument."""
    @jax.jit
    def step(tables, ids, q, k, v, do):
        def attention(q, k, v):
            def one(arguments):
                tables, ids, q, k, v = arguments
                kernel = smj.make_packed_splash_mha(tables, mask, block_sizes=block_sizes(fused),
                                                    interpret=True)
                return kernel(q, k, v, smj.SegmentIds(ids, ids))

            return over_batch(one)((tables, ids, q, k, v))

        return with_gradients(attention)(q, k, v, do)

    return step


@functools.cache
def jax_step(mask, fused, q_heads):
    """The same with JAX's tables of the mask alone, the same for every batch."""
    kernel = splash.make_splash_mha_single_device(
        jax_masks.MultiHeadMask([JAX_MASKS[mask]] * q_heads), block_sizes=block_sizes(fused),
        interpret=True)

    @jax.jit
    def step(ids, q, k, v, do):
        def attention(q, k, v):
            return jax.vmap(lambda ids, *qkv: kernel(*qkv, splash.SegmentIds(ids, ids)))(
                ids, q, k, v)

        return with_gradients(attention)(q, k, v, do)

    return step


@functools.partial(jax.jit, static_argnums=0)
def dense_step(mask, ids, q, k, v, do):
    position = np.arange(LENGTH)
    visible = MASKS[mask](position[:, None], position) & (ids[:, :, None] == ids[:, None])
    groups = q.shape[1] // k.shape[1]

    def attention(q, k, v):
        k, v = (jnp.repeat(x, groups, axis=1) for x in (k, v))
        logits = jnp.einsum("bhqd,bhkd->bhqk", q, k)
        weights = jax.nn.softmax(jnp.where(visible[:, None], logits, -jnp.inf), axis=-1)
        return jnp.einsum("bhqk,bhkd->bhqd", weights, v)

    return with_gradients(attention)(q, k, v, do)


def random_ids(rng, number):
    ids = np.zeros((BATCH, LENGTH), np.int32)
    for row in ids:
        cuts = np.sort(rng.integers(0, LENGTH, rng.integers(0, 9)))
        for i, (begin, end) in enumerate(zip([0, *cuts], [*cuts, LENGTH])):
            # Documents in order; ids that come back, are negative, or are padding; any token's.
            row[begin:end] = i + 1 if number % 3 == 0 else rng.integers(-2, 3)
    if number % 3 == 0:
        ids[:, rng.integers(1, LENGTH):] = 0
    if number % 5 == 4:
        ids = rng.integers(-1, 3, ids.shape, np.int32)
    return ids if number != 7 else np.zeros_like(ids)


def random_inputs(rng, q_heads, kv_heads):
    shape = (BATCH, LENGTH, DIM)
    q, k, v, do = (
        rng.standard_normal((shape[0], heads, *shape[1:]), np.float32)
        for heads in (q_heads, kv_heads, kv_heads, q_heads)
    )
    return q / np.sqrt(DIM).astype(np.float32), k, v, do


def check(mask, fused, heads, step, rng, number, **options):
    """One batch through the kernel; padded rows take no part in the loss."""
    ids = random_ids(rng, number)
    q, k, v, do = random_inputs(rng, *heads)
    real = (ids != 0)[:, None, :, None]
    do = do * real
    tables = sm.compile_packed(ids, mask, block_q=BLOCK, block_kv=BLOCK,
                               use_fused_bwd_kernel=fused, **options)
    got = step(tables, ids, q, k, v, do)
    assert all(np.isfinite(x).all() for x in got)
    by_jax = jax_step(mask, fused, heads[0])(ids, q, k, v, do)
    dense = dense_step(mask, ids, q, k, v, do)
    for i, (ours, jaxs, reference) in enumerate(zip(got, by_jax, dense)):
        if i == 0:  # What a padded row holds is nobody's business.
            ours, jaxs, reference = (np.where(real, x, 0) for x in (ours, jaxs, reference))
        np.testing.assert_array_equal(ours, jaxs)
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mask, fused, heads", [
    ("causal()", False, (2, 2)),
    ("causal()", True, (2, 1)),
    ("local(150, 0)", False, (2, 1)),
    ("local(150, 0)", True, (2, 2)),
])
def test_twenty_batches_one_compilation(mask, fused, heads):
    rng = np.random.default_rng(0)
    step = packed_step(mask, fused)
    for number in range(20):
        check(mask, fused, heads, step, rng, number)
    assert step._cache_size() == 1


def test_lax_map():
    def over_batch(one):
        return lambda arguments: jax.lax.map(one, arguments)

    check("causal()", False, (2, 2), packed_step("causal()", False, over_batch),
          np.random.default_rng(1), 1)


def test_given_width_and_height():
    rng = np.random.default_rng(2)
    step = packed_step("local(150, 0)", False)
    for number in range(3):
        check("local(150, 0)", False, (2, 2), step, rng, number, width=4, height=4)
    assert step._cache_size() == 1


def changed(tables, change):
    """The tables after change(data_next, block_mask) of each pass."""
    for data_next, block_mask in tables:
        change(data_next, block_mask)
    return tables


@pytest.mark.parametrize("fused", [False, True])
def test_skipped_steps_may_name_any_block(fused):
    """data_next of a skipped step only says what to fetch."""
    rng = np.random.default_rng(3)
    ids = random_ids(rng, 1)
    q, k, v, do = random_inputs(rng, 2, 2)
    step = packed_step("causal()", fused)

    def scramble(data_next, block_mask):
        data_next[block_mask == 0] = rng.integers(0, LENGTH // BLOCK, (block_mask == 0).sum())

    compiled = functools.partial(sm.compile_packed, ids, block_q=BLOCK, block_kv=BLOCK,
                                 use_fused_bwd_kernel=fused)
    expected = step(compiled(), ids, q, k, v, do)
    got = step(changed(compiled(), scramble), ids, q, k, v, do)
    for a, b in zip(expected, got):
        np.testing.assert_array_equal(a, b)


def test_padding_without_its_diagonal_is_nan():
    """Why blocks that hold only padding are visited."""
    rng = np.random.default_rng(4)
    ids = np.ones((BATCH, LENGTH), np.int32)
    ids[:, BLOCK:] = 0
    q, k, v, do = random_inputs(rng, 2, 2)
    do[:, :, BLOCK:] = 0
    tables = sm.compile_packed(ids, block_q=BLOCK, block_kv=BLOCK)
    step = packed_step("causal()", False)
    assert all(np.isfinite(x).all() for x in step(tables, ids, q, k, v, do))

    def drop_padding(data_next, block_mask):
        block_mask[data_next != 0] = 0

    out, *_ = step(changed(tables, drop_padding), ids, q, k, v, do)
    assert np.isnan(out[:, :, BLOCK:]).all()


def test_vmap_inside_shard_map():
    """A batch over four devices, heads over two."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()).reshape(4, 2), ("batch", "heads"))
    batch, head = jax.sharding.PartitionSpec("batch"), jax.sharding.PartitionSpec("batch", "heads")

    def attention(tables, ids, q, k, v):
        def one(tables, ids, q, k, v):
            kernel = smj.make_packed_splash_mha(tables, block_sizes=block_sizes(False),
                                                interpret=True)
            return kernel(q, k, v, smj.SegmentIds(ids, ids))

        return jax.vmap(one)(tables, ids, q, k, v)

    def step(over, tables, ids, q, k, v, do):
        return with_gradients(functools.partial(over, tables, ids))(q, k, v, do)

    sharded = jax.shard_map(attention, mesh=mesh, in_specs=(batch, batch, head, head, head),
                            out_specs=head, check_vma=False)
    rng = np.random.default_rng(5)
    ids = np.concatenate([random_ids(rng, 0), random_ids(rng, 1)])
    q, k, v, do = (np.concatenate(pair) for pair in zip(random_inputs(rng, 2, 2),
                                                        random_inputs(rng, 2, 2)))
    do = do * (ids != 0)[:, None, :, None]
    tables = sm.compile_packed(ids, block_q=BLOCK, block_kv=BLOCK)
    want, got = (jax.jit(functools.partial(step, over))(tables, ids, q, k, v, do)
                 for over in (attention, sharded))
    for a, b in zip(want, got):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes, text", [
    (dict(block_q_dq=256, block_kv_dq=256), "dq blocks (256, 256) to be those of fwd (128, 128)"),
    (dict(block_kv_dkv=256), "got 4 and 4 blocks"),
    (dict(block_q_dkv=64), "block_q_dkv (64) to be a multiple of 128"),
    (dict(block_kv=64, block_kv_compute=64), "block_kv_compute (64)"),
])
def test_block_sizes_that_are_not_the_tables(sizes, text):
    tables = jax.tree.map(lambda x: x[0], sm.compile_packed(np.ones((1, LENGTH), np.int32),
                                                            block_q=BLOCK, block_kv=BLOCK))
    changed_sizes = {**dict(block_q=BLOCK, block_kv=BLOCK, block_q_dq=BLOCK, block_kv_dq=BLOCK,
                            block_q_dkv=BLOCK, block_kv_dkv=BLOCK), **sizes}
    with pytest.raises(sm.Error) as caught:
        smj.make_packed_splash_mha(tables, block_sizes=smj.BlockSizes(**changed_sizes))
    assert text in str(caught.value)
