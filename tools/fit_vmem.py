#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the factors of planner/cost/vmem_temporaries.cc to sizes that the TPU compiler gave.

    tools/fit_vmem.py vmem.csv

Reads what tools/measure_vmem.py wrote, for seeds below 30000: those from there on are for judging. Prints
the factors as they stand in C++, each for the least, the expected and the most, and the errors as a share
of a kernel's VMEM. Wants numpy and scipy, which come with JAX.
"""

import csv
import math
import re
import sys

import numpy as np
from scipy.optimize import linprog

from splashmask import _core

MIB = 1 << 20
NEXT = 0.6 * MIB
REGISTERS = 0.2 * MIB
QUANTILES = (0.33, 0.5, 0.9)  # Of the least, the expected and the most.
RIDGE = 1e-3
JUDGED = 30000  # Seeds from here on.
FACTORS = {
    "fwd": ["tile_long", "tile_short", "tile_k", "registers", "rows", "rows_v4", "next_v4", "next_v5", "next_v6", "next_v7",
            "next_soft_cap", "later", "many_steps", "q_again", "k", "k_again", "v", "kv", "wide_steps"],
    "dq": ["tile", "tile_soft_cap", "tile_masked", "tile_q", "tile_k", "registers", "rows", "k", "v"],
    "dkv": ["tile", "tile_soft_cap", "tile_masked", "tile_f32", "tile_v4", "tile_q", "registers", "rows",
            "next_v4", "q", "k", "wide"],
    "fused": ["tile", "tile_soft_cap", "tile_v4", "tile_q", "tile_wide", "registers", "rows", "next_v4",
              "next_soft_cap", "q", "k", "v", "wide"]}


def config_of(row):
    """As _core.kernel_vmem takes it."""
    number = lambda name: int(row[name])
    config = {name: number(name) for name in
              ("batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim", "head_dim_v", "block_q", "block_kv",
               "block_kv_compute")}
    config |= {name: bool(number(name)) for name in ("segments", "soft_cap")}
    config |= {f"{name}_seq_minor": not number(f"{name}_layout") for name in "qkv"}
    return config | {"dtype": row["dtype"], "has_q_sequence": row["mask"] == "causal",
                     "partial_blocks": number("partial_blocks")}


def kernel_of(row):
    return row["kernel"] + ("_residuals" if row["kernel"] == "fwd" and int(row["residuals"]) else "")


def shapes_of(row):
    """Operands and results as in_vmem names them, by the names of their windows, as patterns: a batch of
    one may be no axis."""
    c = config_of(row)
    dtype = {"bfloat16": "bf16", "float32": "f32"}[row["dtype"]]
    heads, q, kv, d, d_v = (c[name] for name in ("heads", "q_len", "kv_len", "head_dim", "head_dim_v"))
    kv_heads = [] if c["kv_heads"] == 1 else [c["kv_heads"]]

    def array(element, *dims, is_result=False, is_mapped=True):
        batch = "" if not is_mapped else r"(?:1,)?" if c["batch"] == 1 else rf"{c['batch']},"
        return ("=" if is_result else "") + rf"{element}\[{batch}{','.join(map(str, dims))}\]"

    def operand(prefix, length, dim, name):
        return array(dtype, *prefix, *((dim, length) if c[f"{name}_seq_minor"] else (length, dim)))

    is_dkv = row["kernel"] in ("dkv", "fused")

    def along(length, in_lanes, is_mapped):
        return array("s32", *((8, length) if in_lanes else (length, 128)), is_mapped=is_mapped)

    block = (c["block_kv"], c["block_q"]) if is_dkv else (c["block_q"], c["block_kv"])
    rows = array("f32", heads, 8 if is_dkv else 1, q)
    shapes = {"q": operand([heads], q, d, "q"), "k": operand(kv_heads, kv, d, "k"),
              "v": operand(kv_heads, kv, d_v, "v"), "q_segment_ids": along(q, is_dkv, True),
              "kv_segment_ids": along(kv, not is_dkv, True), "q_sequence": along(q, is_dkv, False),
              "do": array(dtype, heads, q, d_v), "logsumexp": rows, "di": rows,
              "partial_mask_blocks": array("s32", c["partial_blocks"], *block, is_mapped=False)}
    results = {"out": (heads, q, d_v), "dk": (*kv_heads, kv, d), "dv": (*kv_heads, kv, d_v),
               "dq": (*([kv // c["block_kv"]] if row["kernel"] == "fused" else []), heads, q, d)}
    shapes |= {name: array(dtype, *dims, is_result=True) for name, dims in results.items()}
    if row["kernel"] == "fwd":
        shapes["logsumexp"] = array("f32", heads, q, 128, is_result=True)
    return shapes


def rest_of(row):
    """Bytes beyond the windows of what lies in HBM."""
    predicted = _core.kernel_vmem(row["chip"], kernel_of(row), config_of(row), int(row["limit_kib"]) << 10)
    rest, kept, shapes = int(row["bytes"]), row["in_vmem"].split(), shapes_of(row)
    for name, _, window in predicted["windows"]:
        shape = shapes.get(name, "")
        match = next((k for k in kept if shape and re.fullmatch(shape, k)), None)
        if match:
            kept.remove(match)
        else:
            rest -= window
    return rest


def features_of(row):
    """What the factors multiply; see struct SpillFactors."""
    c, kernel, chip = config_of(row), row["kernel"], row["chip"]
    q, kv = c["block_q"], c["block_kv"]
    step = kv if kernel == "dq" else c["block_kv_compute"]
    tile, others = 4 * q * step, 4 * q * (kv - step)
    width = {"bfloat16": 2, "float32": 4}[row["dtype"]]
    generation = {"v4": 4, "v5e": 5, "v5p": 5, "v6e": 6, "tpu7x": 7}[chip]
    d, d_v = (-(-c[name] // 128) * 128 for name in ("head_dim", "head_dim_v"))
    sums = d_v if kernel == "fwd" else max(d, d_v)
    mxu = 128 if generation < 6 else 256
    steps, following, later = kv // step, min(others, NEXT), min(max(others - NEXT, 0), 2 * NEXT)
    q_seq_minor, k_seq_minor, v_seq_minor = (c[f"{name}_seq_minor"] for name in "qkv")
    f = {"tile": tile, "tile_long": tile * (step >= 512), "tile_short": tile * (step < 512 and generation > 4),
         "tile_soft_cap": tile * c["soft_cap"], "tile_masked": tile * (row["mask"] != "full"),
         "tile_f32": tile * (width == 4), "tile_v4": tile * (generation == 4), "tile_q": tile * q_seq_minor,
         "tile_k": tile * k_seq_minor, "tile_wide": tile * (sums > mxu), "registers": -min(tile, REGISTERS),
         "rows": 512 * q, "rows_v4": 512 * q * (generation == 4), "later": later, "next_soft_cap": (following + later) * c["soft_cap"],
         "many_steps": MIB / 8 * max(math.log2(steps) - 1, 0) * (generation > 4),
         "q": q_seq_minor * q * d * width, "q_again": q_seq_minor * q * d * width * (steps - 1),
         "k": k_seq_minor * kv * d * width, "k_again": k_seq_minor * kv * d * width * (steps > 1),
         "v": v_seq_minor * kv * d_v * width, "kv": kv * (d + d_v) * width,
         "wide": 4 * q * sums * (sums > mxu), "wide_steps": 4 * q * sums * (sums > mxu and step > mxu) * steps}
    f |= {f"next_v{g}": following * (g == generation) for g in (4, 5, 6, 7)}
    return {name: f[name] for name in FACTORS[kernel]}


def fit(rows, quantile):
    """Factors of 0 or more, for which such a share of the kernels takes less: quantile regression of
    errors relative to a kernel's bytes."""
    total = np.array([float(row["bytes"]) for row in rows])
    a = np.array([list(features_of(row).values()) for row in rows]) / total[:, None]
    y = np.array([row["rest"] for row in rows]) / total
    count, width = a.shape
    costs = np.concatenate([np.full(width, RIDGE), np.full(count, quantile), np.full(count, 1 - quantile)])
    found = linprog(costs, A_eq=np.hstack([a, np.eye(count), -np.eye(count)]), b_eq=y, method="highs")
    return dict(zip(features_of(rows[0]), found.x))


def predicted(row, factors):
    return max(sum(factors[name] * value for name, value in features_of(row).items()), 0)


def main():
    rows = []
    for path in sys.argv[1:]:
        with open(path) as file:
            rows += [row for row in csv.DictReader(file) if row["fits"] == "1" and int(row["seed"]) < JUDGED]
    for row in rows:
        row["rest"] = rest_of(row)
    for kernel in FACTORS:
        of_kernel = [row for row in rows if row["kernel"] == kernel]
        bands = [fit(of_kernel, quantile) for quantile in QUANTILES]
        print(f"{kernel}: " + ", ".join(f".{name} = {{{', '.join(f'{band[name]:.2f}' for band in bands)}}}"
                                        for name in FACTORS[kernel]))
        errors = np.array([abs(predicted(row, bands[1]) - row["rest"]) / float(row["bytes"])
                           for row in of_kernel])
        print(f"  {len(of_kernel)} kernels, mean {errors.mean():.1%}, 95 % within "
              f"{np.quantile(errors, 0.95):.1%}, worst {errors.max():.1%}")


if __name__ == "__main__":
    main()
