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


@pytest.fixture(scope="module", params=CHIPS.values(), ids=CHIPS)
def mesh(request):
    topology = topologies.get_topology_desc(platform="tpu", topology_name=request.param)
    return Mesh(np.array(topology.devices[:1]), ("x",))


@pytest.mark.parametrize("name", MASKS)
def test_compiles_forward_and_backward(mesh, name):
    make, options = MASKS[name]
    fused = name == "fused_backward"
    dq = {} if fused else dict(block_q_dq=256, block_kv_dq=256)
    sizes = smj.BlockSizes(block_q=256, block_kv=256, block_kv_compute=256, block_q_dkv=256,
                           block_kv_dkv=256, block_kv_dkv_compute=256, use_fused_bwd_kernel=fused,
                           **dq)
    kernel = smj.make_splash_mha_single_device(sm.MultiHeadMask([make()] * 2), block_sizes=sizes,
                                               **options)
    array = jax.ShapeDtypeStruct((2, LENGTH, 128), jnp.bfloat16)
    step = jax.jit(jax.value_and_grad(loss, (1, 2, 3)),
                   in_shardings=NamedSharding(mesh, PartitionSpec()))
    with jax.set_mesh(mesh):
        lowered = step.trace(kernel, array, array, array).lower(lowering_platforms=("tpu",))
        compiled = lowered.compile()
    assert compiled.as_text().count("custom-call") >= (2 if fused else 3)
