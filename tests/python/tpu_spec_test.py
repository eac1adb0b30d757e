# SPDX-License-Identifier: Apache-2.0
"""The planner's chips are those that JAX and libtpu know."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.pallas.mosaic import tpu_info
from jax.experimental import pallas as pl
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from splashmask import _core
from splashmask.tpu_compiler import described_device

pytest.importorskip("libtpu", reason="libtpu, the TPU compiler, is not installed")
pytestmark = pytest.mark.tpu_compiler
SPECS = _core.tpu_specs()


def test_five_of_them():
    assert [spec["name"] for spec in SPECS] == ["v4", "v5e", "v5p", "v6e", "tpu7x"]


@pytest.fixture(params=SPECS, ids=lambda spec: spec["name"])
def spec(request):
    return request.param


@pytest.fixture
def device(spec):
    """One that is only described."""
    return described_device(spec["name"])


def test_numbers_are_those_of_jax(spec, device):
    assert device.device_kind == spec["device_kind"]
    assert device.num_cores == spec["cores_per_device"]
    version = tpu_info.chip_version_from_device_kind(spec["device_kind"])
    info = tpu_info._get_tpu_info_impl(version, spec["cores_per_device"])
    cores = version.num_physical_tensor_cores_per_chip
    assert (spec["generation"], spec["cores_per_chip"]) == (info.generation, cores)
    assert (spec["mxu_size"], spec["mxus"]) == (info.mxu_column_size, info.num_mxus)
    assert spec["vmem_bytes"] == info.vmem_capacity_bytes
    assert spec["smem_bytes"] == info.smem_capacity_bytes
    assert spec["hbm_bytes"] == info.hbm_capacity_bytes * cores
    assert spec["hbm_bytes_per_second"] == info.mem_bw_bytes_per_second * cores
    assert spec["bf16_flops_per_second"] == info.bf16_ops_per_second * cores


def test_the_default_limit_is_the_one_that_the_compiler_names(spec, device):
    """A kernel that wants half as much again is refused, with the limit."""
    rows = spec["scoped_vmem_bytes"] * 3 // 8 // 512  # Of a window, of which there are two and two.

    def double(x):
        return pl.pallas_call(lambda x, y: y.__setitem__(..., x[...] * 2), grid=(2,),
                              in_specs=[pl.BlockSpec((rows, 128), lambda i: (i, 0))],
                              out_specs=pl.BlockSpec((rows, 128), lambda i: (i, 0)),
                              out_shape=jax.ShapeDtypeStruct((2 * rows, 128), jnp.float32))(x)

    mesh = Mesh(np.array([device]), ("x",))
    with jax.set_mesh(mesh):
        lowered = jax.jit(double, in_shardings=NamedSharding(mesh, PartitionSpec())).trace(
            jax.ShapeDtypeStruct((2 * rows, 128), jnp.float32)).lower(lowering_platforms=("tpu",))
    with pytest.raises(Exception, match="vmem|Scoped") as refused:
        lowered.compile()
    limit = re.search(r"(?:and limit|Used 24.00M of) ([\d.]+)M", str(refused.value))
    assert limit, str(refused.value)
    assert float(limit[1]) * 2**20 == spec["scoped_vmem_bytes"]
