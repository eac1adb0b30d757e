#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks the TPU compiler how much scoped VMEM splash attention kernels take.

Draws random configurations of JAX's kernel, compiles each ahead of time for a chip that is only
described (libtpu needs no TPU), and appends a row for every kernel to a CSV file:

    tools/measure_vmem.py --seed 1 --count 100 --output tests/planner/data/vmem.csv

`bytes` is what the compiler gave the kernel, or, where it refused, what it asked for.
"""

import argparse
import csv
import glob
import os
import random
import re
import tempfile

from splashmask import _core

COLUMNS = ["seed", "chip", "kernel", "residuals", "dtype", "heads", "kv_heads", "q_len", "kv_len",
           "head_dim", "head_dim_v", "block_q", "block_kv", "block_kv_compute", "q_layout", "k_layout",
           "v_layout", "mask", "segments", "soft_cap", "bytes", "in_vmem"]
CHIPS = {spec["name"]: spec for spec in _core.tpu_specs()}
MASKS = ["causal", "full", "partial"]


def draw(seed):
    """A configuration that the kernel takes."""
    random.seed(seed)
    pick = random.choice
    blocks = [128, 256, 512, 1024, 2048, 4096]
    weights = [2, 4, 6, 6, 4, 2]

    def block():
        return random.choices(blocks, weights)[0]

    def computed(kv):
        return pick([b for b in blocks if b <= kv])

    c = {"seed": seed, "chip": pick(list(CHIPS)), "dtype": pick(["bfloat16", "bfloat16", "float32"]),
         "heads": pick([1, 2, 4, 8]), "mask": pick(MASKS), "segments": int(random.random() < 0.25),
         "soft_cap": int(random.random() < 0.15), "passes": pick(["fwd", "bwd", "fused"])}
    c["kv_heads"] = pick([h for h in (1, 2, 4, 8) if c["heads"] % h == 0])
    c["head_dim"] = pick([64, 96, 128, 128, 192, 256])
    c["head_dim_v"] = c["head_dim"] if random.random() < 0.8 else pick([64, 128, 256])
    for name in ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq"):
        c[name] = block()
    c["block_kv_compute"] = computed(c["block_kv"])
    c["block_kv_dkv_compute"] = computed(c["block_kv_dkv"])
    for name in ("q_layout", "k_layout", "v_layout"):
        c[name] = int(random.random() < 0.8)  # 1: head dim minor.
    longest = max(c[name] for name in c if name.startswith("block_") and isinstance(c[name], int))
    c["q_len"] = longest * pick([1, 2, 2, 4])
    c["kv_len"] = c["q_len"] if c["mask"] == "causal" else longest * pick([1, 2, 2, 4])
    return c


def build(c, jax, jnp, smj, sm):
    """A function of q, k, v and segment ids, and their shapes."""
    shape = (c["q_len"], c["kv_len"])
    head = {"causal": lambda: sm.CausalMask(shape), "full": lambda: sm.FullMask(shape),
            "partial": lambda: sm.parse("local(700, 300) & stride(3)", shape)}[c["mask"]]()
    layout = {1: smj.QKVLayout.HEAD_DIM_MINOR, 0: smj.QKVLayout.SEQ_MINOR}
    sizes = {name: c[name] for name in ("block_q", "block_kv", "block_kv_compute")}
    if c["passes"] != "fwd":
        sizes |= {name: c[name] for name in ("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute")}
    if c["passes"] == "bwd":
        sizes |= {name: c[name] for name in ("block_q_dq", "block_kv_dq")}
    block_sizes = smj.BlockSizes(use_fused_bwd_kernel=c["passes"] == "fused", **sizes,
                                 **{name: layout[c[name]] for name in ("q_layout", "k_layout",
                                                                       "v_layout")})
    make = smj.make_splash_mqa if c["kv_heads"] == 1 else smj.make_splash_mha
    kernel = make(sm.MultiHeadMask([head] * c["heads"]), block_sizes=block_sizes, head_shards=1,
                  q_seq_shards=1, attn_logits_soft_cap=30.0 if c["soft_cap"] else None)
    dtype = jnp.dtype(c["dtype"])
    kv = () if c["kv_heads"] == 1 else (c["kv_heads"],)
    arguments = [jax.ShapeDtypeStruct((c["heads"], c["q_len"], c["head_dim"]), dtype),
                 jax.ShapeDtypeStruct((*kv, c["kv_len"], c["head_dim"]), dtype),
                 jax.ShapeDtypeStruct((*kv, c["kv_len"], c["head_dim_v"]), dtype)]
    if c["segments"]:
        arguments += [jax.ShapeDtypeStruct((n,), jnp.int32) for n in shape]

    def loss(q, k, v, *ids):
        segments = smj.SegmentIds(*ids) if ids else None
        return kernel(q, k, v, segment_ids=segments).astype(jnp.float32).sum()

    return (loss if c["passes"] == "fwd" else jax.grad(loss, argnums=(0, 1, 2))), arguments


KERNEL = re.compile(r"%splash_m[hq]a_(fwd|dq|dkv)(_segmented)?(_residuals|_no_residuals)")
USED = re.compile(r'"used_scoped_memory_configs":\[\{"memory_space":"1","offset":"0","size":"(\d+)"')
DEFINED = re.compile(r"(%[\w.\-]+) = (\w+\[[\d,]*\])\{([^}]*)\}")


def kernels_of(folder):
    """Yields (kernel, residuals, bytes, operands and results in VMEM) of the profiles dumped there."""
    for path in glob.glob(os.path.join(folder, "*hlo-static-bundle-profile.txt")):
        with open(path) as file:
            entries = file.read().split("HLO: ")[1:]
        in_vmem = {}
        for entry in entries:
            if (defined := DEFINED.match(entry)) and "S(1)" in defined[3]:
                in_vmem[defined[1]] = defined[2]
        for entry in entries:
            name, used = KERNEL.match(entry), USED.search(entry)
            if not (name and used and "tpu_custom_call" in entry):
                continue
            results, _, operands = entry[:entry.find("custom_call_target")].partition(" custom-call(")
            shapes = [in_vmem[o] for o in re.findall(r"%[\w.\-]+", operands) if o in in_vmem]
            shapes += ["=" + shape for shape, layout in
                       re.findall(r"(\w+\[[\d,]*\])\{([^}]*)\}", results) if "S(1)" in layout]
            yield name[1], int(name[3] == "_residuals"), int(used[1]), shapes


def rows_of(c, folder, modules):
    """Compiles a configuration; its rows."""
    jax, jnp, np, topologies, smj, sm = modules
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    megacore = {"chip_config_name": "megacore"} if c["chip"] == "v4" else {}
    topology = topologies.get_topology_desc(platform="tpu", topology_name=CHIPS[c["chip"]]["topology"],
                                            **megacore)
    mesh = Mesh(np.array(topology.devices[:1]), ("x",))
    step, arguments = build(c, jax, jnp, smj, sm)
    whole = NamedSharding(mesh, PartitionSpec())
    failure = None
    with jax.set_mesh(mesh):
        lowered = jax.jit(step, in_shardings=(whole,) * len(arguments)).trace(*arguments).lower(
            lowering_platforms=("tpu",))
        try:
            lowered.compile(compiler_options={
                "xla_tpu_scoped_vmem_limit_kib": str(CHIPS[c["chip"]]["vmem_bytes"] >> 10)})
        except Exception as error:  # The compiler's own, of several types.
            failure = str(error)
    for kernel, residuals, used, in_vmem in kernels_of(folder):
        yield row_for(c, kernel, residuals, used, " ".join(in_vmem))
    if failure:
        name = KERNEL.search(failure)
        size = re.search(r"Scoped allocation with size ([\d.]+[KMG]?)", failure)
        yield row_for(c, name[1] if name else "?", int(bool(name) and name[3] == "_residuals"),
                      size[1] if size else failure.splitlines()[0][:200], "refused")


def row_for(c, kernel, residuals, used, in_vmem):
    sizes = {"fwd": ("block_q", "block_kv", "block_kv_compute"),
             "dq": ("block_q_dq", "block_kv_dq", "block_kv_dq"),
             "dkv": ("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute")}.get(kernel)
    row = {name: c[name] for name in COLUMNS if name in c}
    if sizes:
        row |= dict(zip(("block_q", "block_kv", "block_kv_compute"), (c[name] for name in sizes)))
    if kernel == "dkv" and c["passes"] == "fused":
        kernel = "fused"
    return row | {"kernel": kernel, "residuals": residuals, "bytes": used, "in_vmem": in_vmem}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True, help="of the first configuration")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    folder = tempfile.mkdtemp()
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "JAX_PLATFORMS": "cpu",
        "LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
                            "--xla_jf_dump_llo_pass_label_regex=hlo-static-bundle-profile"}
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.experimental import topologies
    import splashmask as sm
    import splashmask.jax as smj
    is_new = not os.path.exists(options.output)
    with open(options.output, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        for seed in range(options.seed, options.seed + options.count):
            for row in rows_of(draw(seed), folder, (jax, jnp, np, topologies, smj, sm)):
                writer.writerow(row)
            file.flush()
            for path in glob.glob(os.path.join(folder, "*")):
                os.remove(path)


if __name__ == "__main__":
    main()
