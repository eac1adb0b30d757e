#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the dump that xla_buffers_test.cc reads: the buffer assignment of JAX's splash attention,
compiled for a TPU that need not be there.

    python tests/io/make_xla_dump.py [--output DIRECTORY]

  splash_fwd_buffers.txt  the dump, its three files in one as older compilers write it
  splash_fwd_kernel.txt   what MLIR's own reader finds in the kernel's body, an attribute a line

The same versions of JAX and libtpu (tests/python/requirements.txt) write the same bytes. The text
holds no path of this machine: source files are named without their directories.
"""

import argparse
import base64
import os
import pathlib
import re
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

# What is compiled: the later half of a causal mask, so that each row of blocks has two to visit.
CHIP = "v6e:2x2"
HEADS, Q_LEN, KV_LEN, HEAD_DIM = 3, 256, 512, 128
BLOCK_Q, BLOCK_KV, BLOCK_KV_COMPUTE = 128, 256, 128

# In the order in which one file has them.
PARTS = ["buffer-assignment", "buffer-assignment-values", "live-range"]


def compile_kernel(dump_directory):
    """Compiles for the TPU, which makes XLA dump into that directory."""
    os.environ.update(
        JAX_PLATFORMS="cpu",
        TPU_SKIP_MDS_QUERY="1",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
        XLA_FLAGS=f"--xla_dump_to={dump_directory} --xla_dump_hlo_as_text=true",
    )
    # XLA reads its flags when JAX is first imported.
    import jax
    import numpy as np
    from jax.experimental import topologies
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*/")
    topology = topologies.get_topology_desc(platform="tpu", topology_name=CHIP)
    mesh = jax.sharding.Mesh(np.array(topology.devices[:1]), ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    mask = masks.CausalMask((Q_LEN, KV_LEN), offset=KV_LEN - Q_LEN)
    splash = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * HEADS),
        block_sizes=kernels.BlockSizes(
            block_q=BLOCK_Q, block_kv=BLOCK_KV, block_kv_compute=BLOCK_KV_COMPUTE
        ),
        head_shards=1,
        q_seq_shards=1,
    )

    def attention(q, k, v):
        return splash(q, k, v)

    q = jax.ShapeDtypeStruct((HEADS, Q_LEN, HEAD_DIM), jax.numpy.bfloat16)
    kv = jax.ShapeDtypeStruct((HEADS, KV_LEN, HEAD_DIM), jax.numpy.bfloat16)
    with jax.set_mesh(mesh):
        jitted = jax.jit(attention, in_shardings=(sharding,) * 3, out_shardings=sharding)
        jitted.trace(q, kv, kv).lower(lowering_platforms=("tpu",)).compile()


def joined_parts(dump_directory):
    texts = []
    for part in PARTS:
        pattern = f"*jit_attention*.after_optimizations-{part}.txt"
        (path,) = pathlib.Path(dump_directory).glob(pattern)
        texts.append(path.read_text())
    text = "\n".join(texts)
    assert str(pathlib.Path.home()) not in text and "/site-packages" not in text
    return text


def kernel_attributes(dump):
    """The attributes of the kernel's function as MLIR prints them."""
    from jax._src.lib import tpu
    from jaxlib.mlir import ir

    body = base64.b64decode(re.search(r'"body": ?"([^"]*)"', dump).group(1))
    assert b"/site-packages" not in body
    context = ir.Context()
    context.allow_unregistered_dialects = True
    tpu.register_dialect(context)
    module = ir.Module.parse(body, context)
    (kernel,) = [op for op in module.body.operations if "iteration_bounds" in op.attributes]
    lines = []
    for name in ["sym_name", "iteration_bounds", "dimension_semantics", "scalar_prefetch"]:
        lines.append(f"{name} = {kernel.attributes[name]}")
    lines.append(f"scratch_operands = {kernel.attributes['scratch_operands']}")
    lines += [f"window = {window}" for window in ir.ArrayAttr(kernel.attributes["window_params"])]
    return "".join(line + "\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "data")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory() as dump_directory:
        compile_kernel(dump_directory)
        dump = joined_parts(dump_directory)
    (output / "splash_fwd_buffers.txt").write_text(dump)
    (output / "splash_fwd_kernel.txt").write_text(kernel_attributes(dump))


if __name__ == "__main__":
    main()
