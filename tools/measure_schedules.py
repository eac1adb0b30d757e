#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the cycles of splash attention's kernels off the TPU compiler's schedules.

    tools/measure_schedules.py tests/planner/data/tpu_schedules.csv --library jax --chip v6e

compiles the kernels that rows of the file name, ahead of time (libtpu needs no TPU), and prints the
rows with what it found. A bundle is issued each cycle: `skipped` and `visited` are those of a grid
step without its body (`visited` 0: it is in the body), `unmasked` and `masked` those of the body, and
`outputs` those that start and write an output block (0: they are in the body, too). Other numbers of
heads and lengths than the ones here move `skipped` and `visited` by a tenth.
"""

import argparse
import csv
import glob
import os
import re
import sys
import tempfile

from splashmask.tpu_compiler import CHIPS, described_mesh

KEYS = ["library", "chip", "kernel", "block_q", "block_kv", "block_kv_compute", "head_dim",
        "head_dim_v", "dtype", "mask", "segments", "soft_cap", "q_layout", "k_layout", "v_layout",
        "lp", "static"]
FOUND = ["skipped", "visited", "unmasked", "masked", "outputs"]
HEADS = 8
PIPELINE = 5  # A branch, and the bundles that run before it is taken.


def sections(path):
    """The bundles of the loop over the grid, and (start, bundles, end) of what branches skip there."""
    start, ends, branches = None, {}, []
    with open(path) as file:
        for line in file:
            bundle = re.match(r"\s*(0x[0-9a-f]+|0)\s*(LB|LH|LE|PB|PF|CT)?:", line)
            if not bundle:
                continue
            at = int(bundle[1], 16)
            if bundle[2] == "LB" and start is None:
                start = at
            for region in re.findall(r"empty region (\d+) ", line):
                ends[region] = at
            for region in re.findall(r"End region (\d+) ", line):
                ends.setdefault(region, at)
            if branch := re.search(r"sbr\.rel \([^)]*\) target = \$region(\d+)", line):
                branches.append((at, branch[1]))
    inside = [(at, ends[region]) for at, region in branches
              if start is not None and at >= start and ends.get(region, 0) > at]
    back = max(at for at, region in branches if at >= start and ends.get(region, 0) <= at)
    return back + 3 - start, [(at, end - at - PIPELINE, end) for at, end in inside]


def measure(row, path):
    """What a kernel's dump says, by the row's own library and mask."""
    total, found = sections(path)
    outer = [a for a in found if any(a[0] < b[0] < a[2] for b in found)]
    inner = [a[1] for a in found if a not in outer]
    if row["static"] == "1":
        outputs = inner[0] + inner[-1] if len(inner) > 1 else 0
        return {"visited": 0, "unmasked": total - outputs, "outputs": outputs}
    bodies = 2 if row["library"] == "tokamax" else 1
    inner = inner[-bodies - 2:]  # There may be one before, which every step runs.
    result = {"visited": total - sum(inner), "outputs": inner[0] + inner[-1]}
    if row["library"] == "tokamax":
        return result | {"unmasked": inner[1], "masked": inner[2]}
    result["skipped"] = total - max(bundles for _, bundles, _ in outer) - PIPELINE
    return result | {"unmasked" if row["mask"] == "none" else "masked": inner[1]}


def block_sizes(row):
    q, kv, compute = (int(row[name]) for name in ("block_q", "block_kv", "block_kv_compute"))
    if row["kernel"] in ("fwd", "fwd_residuals"):
        sizes = dict(block_q=q, block_kv=kv, block_kv_compute=compute)
        backward = dict(block_q_dkv=256, block_kv_dkv=256, block_kv_dkv_compute=256)
        if row["library"] == "tokamax" or row["kernel"] == "fwd":
            return sizes
        return sizes | backward | dict(block_q_dq=256, block_kv_dq=256)
    sizes = dict(block_q=256, block_kv=256, block_kv_compute=256, block_q_dkv=q, block_kv_dkv=kv,
                 block_kv_dkv_compute=compute)
    return sizes if row["kernel"] == "fused" else sizes | dict(block_q_dq=q, block_kv_dq=kv)


def make_kernel(row, length, modules):
    import numpy as np
    kernel, masks = modules[row["library"]]
    layouts = {f"{x}_layout": kernel.QKVLayout(int(row[f"{x}_layout"])) for x in "qkv"}
    band = np.tril(np.ones((length, length), bool)) & (np.arange(length) % 3 != 1)
    mask = {"computed": lambda: masks.CausalMask((length, length)),
            "none": lambda: masks.FullMask((length, length)),
            "stored": lambda: masks.NumpyMask(band | np.eye(length, dtype=bool))}[row["mask"]]()
    cap = 30.0 if row["soft_cap"] == "1" else None
    if row["library"] == "tokamax":
        config = kernel.SplashConfig(**block_sizes(row), **layouts, attn_logits_soft_cap=cap,
                                     use_experimental_scheduler=row["lp"] == "1")
        return kernel.make_splash_mha(
            mask=mask, config=config, save_residuals=row["kernel"] == "fwd_residuals",
            mask_value=float(np.finfo(np.float32).min), downcast_smem_data=False, q_seq_shards=1)
    sizes = kernel.BlockSizes(**block_sizes(row), **layouts,
                              use_fused_bwd_kernel=row["kernel"] == "fused")
    return kernel.make_splash_mha(mask=masks.MultiHeadMask([mask] * HEADS), block_sizes=sizes,
                                  head_shards=1, q_seq_shards=1, attn_logits_soft_cap=cap)


def compile_row(row, modules):
    import jax
    import jax.numpy as jnp
    from jax.sharding import NamedSharding, PartitionSpec
    q, kv = int(row["block_q"]), int(row["block_kv"])
    is_single = row["static"] == "1" and row.get("outputs") == "0"
    length = max(q, kv) if is_single else max(4096, 2 * max(q, kv))
    kernel = make_kernel(row, length, modules)
    segment_ids = modules[row["library"]][0].SegmentIds

    def run(q, k, v, *ids):
        return kernel(q, k, v, segment_ids=segment_ids(ids[0], ids[0]) if ids else None)

    def loss(*arguments):
        return run(*arguments).astype(jnp.float32).sum()

    is_plain = row["kernel"] == "fwd" or (row["library"], row["kernel"]) == ("tokamax",
                                                                            "fwd_residuals")
    step = run if is_plain else jax.grad(loss, argnums=(0, 1, 2))
    arguments = [jax.ShapeDtypeStruct((HEADS, length, int(row[dim])), jnp.dtype(row["dtype"]))
                 for dim in ("head_dim", "head_dim", "head_dim_v")]
    if row["segments"] == "1":
        arguments.append(jax.ShapeDtypeStruct((length,), jnp.int32))
    mesh = described_mesh(row["chip"])
    whole = NamedSharding(mesh, PartitionSpec())
    with jax.set_mesh(mesh):
        lowered = jax.jit(step, in_shardings=(whole,) * len(arguments)).trace(*arguments).lower(
            lowering_platforms=("tpu",))
        lowered.compile(compiler_options={"xla_tpu_scoped_vmem_limit_kib": str(CHIPS[row["chip"]]["vmem_bytes"] >> 10)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", help="CSV file whose rows are measured again")
    parser.add_argument("--library", choices=["jax", "tokamax"])
    parser.add_argument("--chip")
    options = parser.parse_args()
    folder = tempfile.mkdtemp()
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "JAX_PLATFORMS": "cpu",
        "LIBTPU_INIT_ARGS": f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
                            "--xla_jf_dump_llo_pass_label_regex=final_bundles"}
    from jax.experimental.pallas.ops.tpu.splash_attention import (splash_attention_kernel,
                                                                  splash_attention_mask)
    from tokamax._src.ops.experimental.tpu.splash_attention import (
        splash_attention_kernel as tokamax_kernel, splash_attention_mask as tokamax_mask)
    modules = {"jax": (splash_attention_kernel, splash_attention_mask),
               "tokamax": (tokamax_kernel, tokamax_mask)}
    writer = csv.DictWriter(sys.stdout, KEYS + FOUND, lineterminator="\n")
    writer.writeheader()
    with open(options.rows, newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if options.library not in (None, row["library"]) or options.chip not in (None, row["chip"]):
            continue
        compile_row(row, modules)
        name = {"fwd": "fwd*_no_residuals", "fwd_residuals": "fwd*_residuals",
                "fused": "dkv*"}.get(row["kernel"], row["kernel"] + "*")
        dumps = glob.glob(os.path.join(folder, f"*splash_m[hq]a_{name}*-0[0-9]-final_bundles.txt"))
        if row["kernel"] == "fwd_residuals":
            dumps = [dump for dump in dumps if "no_residuals" not in dump]
        writer.writerow({key: row[key] for key in KEYS} | measure(row, dumps[0]))
        sys.stdout.flush()
        for path in glob.glob(os.path.join(folder, "*")):
            os.remove(path)


if __name__ == "__main__":
    main()
