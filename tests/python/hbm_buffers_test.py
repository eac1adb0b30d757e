# SPDX-License-Identifier: Apache-2.0
"""The buffers that the planner predicts are those of the TPU compiler, byte for byte."""

import collections
import json
import pathlib
import re
import subprocess
import sys

import pytest

import splashmask as sm
import tpu_backward_buffers
import tpu_buffers
from splashmask import _core

pytest.importorskip("libtpu", reason="libtpu, the TPU compiler, is not installed")

pytestmark = pytest.mark.tpu_compiler

COUNT = 50
# Drawn after the rules were found; none was looked at before.
FIRST = {tpu_buffers: 78_000, tpu_backward_buffers: 91_000}
SCOPED_VMEM = {spec["name"]: spec["scoped_vmem_bytes"] for spec in _core.tpu_specs()}
TAKEN = ("batch", "kv_heads", "head_dim", "head_dim_v", "dtype", "segments", "sinks", "seq_minor",
         "tables_are_arguments")


@pytest.fixture(scope="module", params=FIRST, ids=["forward", "backward"])
def draws(request):
    """The module that draws."""
    return request.param


@pytest.fixture(scope="module")
def drawn(draws):
    return [draws.draw(seed) for seed in range(FIRST[draws], FIRST[draws] + COUNT)]


@pytest.fixture(scope="module")
def compiled(draws):
    """What the compiler says of each."""
    script = pathlib.Path(draws.__file__)
    done = subprocess.run([sys.executable, script, str(FIRST[draws]), str(COUNT)], text=True, timeout=1200,
                          capture_output=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def plan_of(c):
    mask = sm.MultiHeadMask([sm.parse(text, (c["q_len"], c["kv_len"])) for text in c["masks"]])
    sizes = {"block_q": c["block_q"], "block_kv": c["block_kv"]}
    if c["kernel"] == "fwd":
        return sm.compile(mask, **sizes)
    of_dq = {} if c["kernel"] == "fused" else {f"{name}_dq": size for name, size in sizes.items()}
    return sm.compile(mask, **sizes, **of_dq, **{f"{name}_dkv": size for name, size in sizes.items()},
                      use_fused_bwd_kernel=c["kernel"] == "fused")


def predicted(c):
    kernel = "fwd_residuals" if c.get("residuals") else c["kernel"]
    scoped = SCOPED_VMEM[c["chip"]] if c["faster_memory"] else None
    return _core.hbm_buffers(plan_of(c)._core, chip=c["chip"], kernel=kernel, scoped_vmem_bytes=scoped,
                             block_kv_compute=None if kernel == "dq" else c.get("block_kv_compute"),
                             **{name: c[name] for name in TAKEN})


def counted(buffers):
    return collections.Counter(tuple(buffer) for buffer in buffers)


def test_drawn_calls_are_of_every_kind(draws, drawn):
    names = ["chip", "dtype", "segments", "sinks", "tables_are_arguments"]
    names += ["residuals", "faster_memory"] if draws is tpu_buffers else ["kernel"]
    kinds = {"chip": len(tpu_buffers.CHIPS), "kernel": len(tpu_backward_buffers.KERNELS)}
    for name in names:
        counts = collections.Counter(c[name] for c in drawn)
        assert len(counts) == kinds.get(name, 2) and min(counts.values()) > 3, name


def test_predicted_buffers_are_the_compilers(compiled, drawn, report):
    assert len(compiled) == COUNT
    values = 0
    for c, theirs in zip(drawn, compiled):
        ours = predicted(c)
        assert counted(buffer[1:] for buffer in ours["buffers"]) == counted(theirs["buffers"]), c
        assert ours["temporary_bytes"] == theirs["temporary_bytes"], c
        assert ours["hbm_bytes"] == theirs["hbm_bytes"], c
        values += len(theirs["buffers"])
    report(f"{COUNT} programs, {values} buffers as the TPU compiler has them")


@pytest.mark.parametrize("spec", _core.tpu_specs(), ids=lambda spec: spec["name"])
def test_limits_are_the_compilers(spec):
    """What it says it has, to 0.01 GiB, when it refuses a program."""
    import jax

    from splashmask.tpu_compiler import described_mesh
    mesh = described_mesh(spec["name"])
    array = jax.ShapeDtypeStruct((1 << 26, 1024), "float32")
    with jax.set_mesh(mesh):
        whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        lowered = jax.jit(lambda x: x + 1, in_shardings=whole).trace(array).lower(
            lowering_platforms=("tpu",))
        with pytest.raises(jax.errors.JaxRuntimeError, match="exceeds available HBM") as refused:
            lowered.compile()
    available = re.search(r"available HBM \(([\d.]+)G\)", str(refused.value))[1]
    assert available == f"{spec['hbm_limit_bytes'] / (1 << 30):.2f}"
