# SPDX-License-Identifier: Apache-2.0
"""The real TPU compiler takes JAX's kernel with our tables, forward and backward. It needs no TPU:
libtpu compiles for a chip that is only described."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import splashmask as sm
import splashmask.jax as smj

pytest.importorskip("libtpu", reason="libtpu, the TPU compiler, is not installed")
from jax.experimental import topologies  # noqa: E402

pytestmark = pytest.mark.tpu_compiler

LENGTH = 1024
SHAPE = (LENGTH, LENGTH)
CHIPS = {"v5e": "v5e:2x2", "v6e": "v6e:2x2", "tpu7x": "tpu7x:2x2x1"}
MASKS = {
    "causal": (lambda: sm.CausalMask(SHAPE), {}),
    "partial_blocks": (lambda: sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (700, None), 0), {}),
    "fused_backward": (lambda: sm.CausalMask(SHAPE) & sm.LocalMask(SHAPE, (700, None), 0), {}),
    "unbounded_local": (lambda: sm.LocalMask(SHAPE, (None, None), 0), {}),
    "simplified": (lambda: (sm.ChunkedCausalMask(SHAPE, 500) ^ sm.stride(SHAPE, 3)) |
                   sm.prefix(SHAPE, 64) - sm.q_range(SHAPE, 100, 200), dict(simplify=True)),
}


def loss(kernel, q, k, v):
    return kernel(q, k, v).astype(jnp.float32).sum()


def block_sizes(fused):
    dq = {} if fused else dict(block_q_dq=256, block_kv_dq=256)
    return smj.BlockSizes(block_q=256, block_kv=256, block_kv_compute=256, block_q_dkv=256,
                          block_kv_dkv=256, block_kv_dkv_compute=256, use_fused_bwd_kernel=fused,
                          **dq)


@pytest.fixture(scope="module", params=CHIPS.values(), ids=CHIPS)
def chips(request):
    """Two chips that are only described."""
    topology = topologies.get_topology_desc(platform="tpu", topology_name=request.param)
    return np.array(topology.devices[:2])


def compile_for(mesh, step, shardings, *arguments):
    """The program that the TPU compiler makes of step(*arguments)."""
    with jax.set_mesh(mesh):
        traced = jax.jit(step, in_shardings=shardings).trace(*arguments)
        return traced.lower(lowering_platforms=("tpu",)).compile().as_text()


def kernels(fused):
    return 2 if fused else 3


@pytest.mark.parametrize("name", MASKS)
def test_compiles_forward_and_backward(chips, name):
    make, options = MASKS[name]
    fused = name == "fused_backward"
    kernel = smj.make_splash_mha_single_device(sm.MultiHeadMask([make()] * 2),
                                               block_sizes=block_sizes(fused), **options)
    array = jax.ShapeDtypeStruct((2, LENGTH, 128), jnp.bfloat16)
    mesh = Mesh(chips[:1], ("x",))
    program = compile_for(mesh, jax.value_and_grad(loss, (1, 2, 3)),
                          NamedSharding(mesh, PartitionSpec()), kernel, array, array, array)
    assert program.count("custom-call") >= kernels(fused)


@pytest.mark.parametrize("residuals", [False, True])
def test_residuals_are_made_for_those_who_ask(chips, residuals):
    """A forward pass without gradients writes no logsumexp."""
    kernel = smj.make_splash_mha_single_device(sm.MultiHeadMask([MASKS["causal"][0]()] * 2),
                                               block_sizes=block_sizes(False),
                                               save_residuals=residuals)
    array = jax.ShapeDtypeStruct((2, LENGTH, 128), jnp.bfloat16)
    mesh = Mesh(chips[:1], ("x",))
    everywhere = NamedSharding(mesh, PartitionSpec())

    def forward(kernel, q, k, v):
        return kernel(q, k, v)

    program = compile_for(mesh, forward, everywhere, kernel, array, array, array)
    assert ("splash_mha_fwd_residuals" in program) == residuals
    assert ("splash_mha_fwd_no_residuals" in program) != residuals
    if not residuals:
        program = compile_for(mesh, jax.grad(loss, 1), everywhere, kernel, array, array, array)
        assert "splash_mha_fwd_residuals" in program
        assert "splash_mha_fwd_no_residuals" not in program


def lax_map(one):
    return lambda *arguments: jax.lax.map(lambda each: one(*each), arguments)


OVER_BATCH = {
    "vmap": (jax.vmap, 1, False),
    "lax_map": (lax_map, 1, False),
    "vmap_inside_shard_map": (jax.vmap, 2, False),
    "vmap_inside_shard_map_fused_backward": (jax.vmap, 2, True),
}


@pytest.mark.parametrize("over_batch, devices, fused", OVER_BATCH.values(), ids=OVER_BATCH)
def test_compiles_packed_batches(chips, over_batch, devices, fused):
    """Tables and segment ids are arguments of the program, as for a batch that is not known yet."""
    mesh = Mesh(chips[:devices], ("batch",))
    batch = PartitionSpec("batch")

    def one(tables, ids, q, k, v):
        kernel = smj.make_packed_splash_mha(tables, "local(300, 0)", block_sizes=block_sizes(fused))
        return kernel(q, k, v, smj.SegmentIds(ids, ids))

    attention = jax.shard_map(over_batch(one), mesh=mesh, in_specs=batch, out_specs=batch,
                              check_vma=False)

    def packed_loss(tables, ids, q, k, v):
        return attention(tables, ids, q, k, v).astype(jnp.float32).sum()

    ids = np.arange(4 * LENGTH, dtype=np.int32).reshape(4, LENGTH) // 500
    tables = sm.compile_packed(ids, "local(300, 0)", block_q=256, block_kv=256,
                               use_fused_bwd_kernel=fused)
    array = jax.ShapeDtypeStruct((4, 2, LENGTH, 128), jnp.bfloat16)
    program = compile_for(mesh, jax.value_and_grad(packed_loss, (2, 3, 4)),
                          NamedSharding(mesh, batch), tables, ids, array, array, array)
    assert program.count("custom-call") >= kernels(fused)
