#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the factors of planner/cost/vmem_temporaries.cc to sizes that the TPU compiler gave.

    tools/fit_vmem.py vmem.csv

Reads what tools/measure_vmem.py wrote, seeds below 20000 to fit and the others to test, and prints the
factors, the errors on both as a share of a kernel's VMEM, and bands for each kernel.
Wants numpy and scipy, which come with JAX.
"""

import csv
import re
import sys

import numpy as np
from scipy.optimize import nnls

from splashmask import _core

MIB = 1 << 20
NEXT = 0.6 * MIB
SMALL_TILE = 0.2 * MIB
IN_REGISTERS = {"fwd": 0.12, "dq": 0.2, "dkv": 0.2, "fused": 0.2}
RIDGE = 0.02
JUDGED = 20000  # Seeds from here on.


def config_of(row):
    """As _core.kernel_vmem takes it."""
    number = lambda name: int(row[name])
    config = {name: number(name) for name in
              ("batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim", "head_dim_v", "block_q", "block_kv",
               "block_kv_compute")}
    config |= {name: bool(number(name)) for name in ("segments", "soft_cap")}
    config |= {f"{name}_seq_minor": not number(f"{name}_layout") for name in "qkv"}
    return config | {"dtype": row["dtype"], "has_q_sequence": row["mask"] == "causal",
                     "partial_blocks": int(row["mask"] == "partial")}


def kernel_of(row):
    return row["kernel"] + ("_residuals" if row["kernel"] == "fwd" and int(row["residuals"]) else "")


def shapes_of(row):
    """Operands and results as in_vmem names them, by the names of their windows, as patterns: calls may
    be vmapped, and how many blocks a mask has is not known."""
    c = config_of(row)
    dtype = {"bfloat16": "bf16", "float32": "f32"}[row["dtype"]]
    heads, q, kv, d, d_v = (c[name] for name in ("heads", "q_len", "kv_len", "head_dim", "head_dim_v"))
    kv_heads = [] if c["kv_heads"] == 1 else [c["kv_heads"]]

    def array(element, *dims, is_result=False, is_mapped=True):
        batch = rf"(?:{c['batch']},)?" if is_mapped else ""
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
              "partial_mask_blocks": array("s32", r"\d+", *block, is_mapped=False)}
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
    """What the factors multiply; see struct Fitted."""
    c, kernel, chip = config_of(row), row["kernel"], row["chip"]
    tile = 4 * c["block_q"] * (c["block_kv"] if kernel == "dq" else c["block_kv_compute"])
    others = 4 * c["block_q"] * c["block_kv"] - tile
    width = {"bfloat16": 2, "float32": 4}[row["dtype"]]
    lanes = lambda dim: -(-dim // 128) * 128
    f = {"tile": tile, "tile_soft_cap": tile * c["soft_cap"], "tile_f32": tile * (width == 4),
         "tile_masked": tile * (row["mask"] != "full"),
         "q": c["q_seq_minor"] * c["block_q"] * lanes(c["head_dim"]) * width,
         "k": c["k_seq_minor"] * c["block_kv"] * lanes(c["head_dim"]) * width,
         "v": c["v_seq_minor"] * c["block_kv"] * lanes(c["head_dim_v"]) * width}
    following, later = min(others, NEXT), min(max(others - NEXT, 0), 2 * NEXT)
    generation = {"v4": 4, "v5e": 5, "v5p": 5, "v6e": 6, "tpu7x": 7}[chip]
    if kernel == "fwd":
        f |= {f"next_v{g}": following * (g == generation) for g in (4, 5, 6, 7)}
        f |= {"later": later * (generation in (5, 6)), "later_v7": later * (generation == 7)}
    elif kernel != "dq":
        width_of_sums = max(lanes(c["head_dim"]), lanes(c["head_dim_v"]))
        f |= {"wide": 4 * c["block_q"] * width_of_sums * (width_of_sums > 128)}
        f |= {"tile_v4": tile * (generation == 4), "tile_v7": tile * (generation == 7), "next": following}
    return f


def registers_of(row):
    return IN_REGISTERS[row["kernel"]] * MIB * (features_of(row)["tile"] > SMALL_TILE)


def fit(rows):
    """Least squares of errors relative to a kernel's bytes, no factor below 0."""
    total = np.array([float(row["bytes"]) for row in rows])
    a = np.array([list(features_of(row).values()) for row in rows]) / total[:, None]
    y = np.array([row["rest"] + registers_of(row) for row in rows]) / total
    weights = np.sqrt(RIDGE * np.mean(a**2, axis=0))
    factors, _ = nnls(np.vstack([a, np.diag(weights)]), np.concatenate([y, np.zeros(len(weights))]))
    return dict(zip(features_of(rows[0]), factors))


def predicted(row, factors):
    f = features_of(row)
    return max(sum(factors[name] * f[name] for name in f) - registers_of(row), 0)


def main():
    rows = []
    for path in sys.argv[1:]:
        with open(path) as file:
            rows += [row for row in csv.DictReader(file) if row["fits"] == "1"]
    for row in rows:
        row["rest"] = rest_of(row)
    for kernel in ("fwd", "dq", "dkv", "fused"):
        of_kernel = [row for row in rows if row["kernel"] == kernel]
        fitted = [row for row in of_kernel if int(row["seed"]) < JUDGED]
        factors = fit(fitted)
        print(f"{kernel}: " + ", ".join(f".{name} = {value:.2f}" for name, value in factors.items()))
        for name, half in (("fitted", fitted), ("judged", [r for r in of_kernel if r not in fitted])):
            if half:
                print_errors(name, half, factors)
        for has_many in (False, True):
            print_bands(has_many, [r for r in fitted if has_many_steps(r) == has_many], factors)


def has_many_steps(row):
    return int(row["block_kv"]) > 2 * int(row["block_kv_compute"])


def print_errors(name, rows, factors):
    errors = np.array([predicted(row, factors) - row["rest"] for row in rows])
    share = np.abs(errors) / [float(row["bytes"]) for row in rows]
    print(f"  {name}: {len(rows)} kernels, mean {share.mean():.1%}, 95 % within "
          f"{np.quantile(share, 0.95):.1%}, worst {share.max():.1%}")


def print_bands(has_many, rows, factors):
    if not rows:
        return
    for band_share in (0.15, 0.2, 0.25, 0.3):
        beyond = [abs(predicted(row, factors) - row["rest"]) - band_share * predicted(row, factors)
                  for row in rows]
        print(f"  {'over two steps' if has_many else 'one or two'}: band_share {band_share}, 97 % within "
              f"band_mib {np.quantile(beyond, 0.97) / MIB:.2f}")


if __name__ == "__main__":
    main()
