#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fits the constants of the time model (planner/cost/time_constants.cc, docs/cost-model.md).

    tools/fit_time_model.py tests/planner/data

reads cycles of steps from its `tpu_schedules.csv`, the rest from `tokamax_timings.csv`, and prints the
errors on shapes that the fit did not see. Needs numpy and scipy.
"""

import argparse
import collections
import csv
import hashlib
import pathlib

import numpy as np
from scipy.optimize import least_squares, lsq_linear

CHIPS = {  # HBM bytes a second of a device in GB, its cores, MXU side, clock in GHz.
    "v4": (1230, 2, 128, 1.05), "v5e": (820, 1, 128, 1.5), "v5p": (2460, 2, 128, 1.75),
    "v6e": (1640, 1, 256, 1.755), "tpu7x": (3700, 1, 256, 2.203)}
MATMULS = {"fwd": 2, "dq": 3, "dkv": 4, "fused": 5}


def ceil(a, b):
    return -(-a // b)


def read(path):
    def value(text):
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                pass
        return text
    with open(path, newline="") as file:
        return [{name: value(text) for name, text in row.items()} for row in csv.DictReader(file)]


# --- Cycles of a step, from the compiler's schedules ---

SCHEDULE = [  # In the order of ScheduleConstants.
    "vreg", "vreg_tile", "vreg_masked", "vreg_masked_tile", "vreg_stored", "vreg_segments",
    "vreg_soft_cap", "vreg_f32", "iteration", "iteration_vreg", "body", "vreg_lp", "vreg_tile_lp",
    "vreg_static", "body_static", "k_rows", "k_rows_short_tile", "vreg_wide", "vreg_wide_masked",
    "iteration_vreg_wide_lp", "visited", "visited_residuals", "skipped", "output_row",
    "output_row_residuals", "output_row_tile", "output_row_lp", "output_row_residuals_lp"]
SIGNED = {"vreg_lp", "vreg_tile_lp", "vreg_static", "body_static", "vreg_wide", "vreg_f32",
          "vreg_tile"}
# Whose relation to `vreg` a chip has of what its rows do not vary.
DONORS = {"v4": "v5p", "v5e": "v5p", "tpu7x": "v6e", "v5p": "v6e"}
BORROWED = ["vreg_tile", "vreg_masked", "vreg_stored", "vreg_segments", "vreg_soft_cap", "vreg_f32",
            "vreg_wide"]
FREE = {"vreg", "body"}
# What a mask costs where both kinds of bodies were read; elsewhere one kind says nothing of it.
MOST = {"vreg_masked": 0.4, "iteration_vreg": 0.6, "iteration": 300}
SCALE = {"k_rows": 2, "k_rows_short_tile": 5, "iteration": 200, "body_static": 500}


def tiles(c):
    """128-lane tiles of the head dimensions beyond one each, on average."""
    return (ceil(c["head_dim"], 128) + ceil(c["head_dim_v"], 128)) / 2 - 1


def schedule_features(c, masked):
    vregs = c["block_q"] * c["block_kv"] / 1024
    iterations = c["block_kv"] // c["block_kv_compute"]
    fwd, wide = c["kernel"].startswith("fwd"), c["block_kv_compute"] >= 1024
    tokamax = c["library"] == "tokamax"
    return {"vreg": vregs, "vreg_tile": vregs * tiles(c), "vreg_masked": vregs * masked,
            "vreg_masked_tile": vregs * masked * tiles(c) * tokamax,
            "iteration_vreg": vregs / iterations,
            "vreg_stored": vregs * masked * (c["mask"] == "stored"),
            "vreg_segments": vregs * c["segments"], "vreg_soft_cap": vregs * c["soft_cap"],
            "vreg_f32": vregs * (c["dtype"] == "float32"), "iteration": iterations, "body": 1,
            "vreg_lp": vregs * c["lp"], "vreg_static": vregs * c["static"],
            "body_static": c["static"],
            "k_rows": c["block_kv_compute"] * (c["k_layout"] == 1) * (fwd and tokamax),
            "k_rows_short_tile": c["block_kv"] * (c["k_layout"] == 1 and c["block_q"] <= 512)
                                 * tiles(c) * fwd,
            "vreg_tile_lp": vregs * tiles(c) * c["lp"],
            "vreg_wide": vregs * wide * (1 - c["lp"]) * fwd,
            "vreg_wide_masked": vregs * wide * masked * (fwd and tokamax),
            "iteration_vreg_wide_lp": vregs / iterations * wide * c["lp"]}


def bounded_fit(features, targets, weights, signed, free, scale, ridge):
    """Least squares of relative errors; constants that are not `signed` are at least 0."""
    names = [name for name in features[0] if any(f[name] for f in features)]
    matrix = np.array([[f[name] for name in names] for f in features]) / np.array(targets)[:, None]
    shrink = np.diag([0 if name in free else ridge / scale.get(name, 1) for name in names])
    shrink *= np.sqrt(sum(weights) / 5)
    low = [-np.inf if name in signed else -1e-12 for name in names]
    high = [MOST.get(name, np.inf) for name in names]
    root = np.sqrt(weights)

    def residuals(x):
        errors = matrix @ x - 1
        soft = np.sign(errors) * 0.03 * np.sqrt(2 * (np.sqrt(1 + (errors / 0.03) ** 2) - 1))
        return np.concatenate([soft * root, shrink @ x])

    start = lsq_linear(np.vstack([matrix * root[:, None], shrink]),
                       np.concatenate([root, np.zeros(len(names))]), bounds=(low, high)).x
    fit = least_squares(residuals, np.clip(start, low, high), bounds=(low, high), x_scale="jac")
    return {name: float(x) for name, x in zip(names, fit.x)}, matrix @ fit.x - 1


def fit_schedules(rows):
    """{(library, chip, kernel): (constants, mean error, largest error, number of bodies)}."""
    result = {}
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["library"], row["chip"], row["kernel"].removesuffix("_residuals")].append(row)
    for key, group in groups.items():
        bodies = [(schedule_features(row, masked), row[name]) for row in group
                  for masked, name in ((0, "unmasked"), (1, "masked")) if row[name] != ""]
        counts = collections.Counter(str(body) for body in bodies)
        # Large blocks are what one runs.
        weights = [f["vreg"] ** 0.5 / 16 / counts[str((f, t))] for f, t in bodies]
        constants, errors = bounded_fit([f for f, _ in bodies], [t for _, t in bodies], weights,
                                        SIGNED, FREE, SCALE, 0.003)
        steps = [row for row in group if not row["static"]]
        residuals = [row["kernel"].endswith("residuals") for row in steps]
        design = np.array([[1, r] for r in residuals], float)
        visited = np.linalg.lstsq(design, np.array([row["visited"] for row in steps], float),
                                  rcond=None)[0]
        skipped = [row["skipped"] for row in steps if row["skipped"] != ""]
        output = "block_q" if key[2] in ("fwd", "dq") else "block_kv"
        columns = [[1, r, tiles(row), row["lp"], row["lp"] * r] for row, r in zip(steps, residuals)]
        per_row = np.linalg.lstsq(np.array(columns, float),
                                  np.array([row["outputs"] / row[output] for row in steps]),
                                  rcond=None)[0]
        constants |= {"visited": visited[0], "visited_residuals": visited[1],
                      "skipped": float(np.mean(skipped)) if skipped else 0}
        constants |= dict(zip(["output_row", "output_row_residuals", "output_row_tile",
                               "output_row_lp", "output_row_residuals_lp"], per_row))
        result[key] = (constants, abs(errors).mean(), abs(errors).max(), len(bodies))
    for chip in ("v5p", "v4", "v5e", "tpu7x"):
        for (library, of_chip, kernel), (constants, *_) in result.items():
            donor = result.get((library, DONORS[chip], kernel))
            if of_chip != chip or library != "jax" or not donor:
                continue
            for name in BORROWED:
                if name not in constants and name in donor[0]:
                    constants[name] = constants["vreg"] * donor[0][name] / donor[0]["vreg"]
    return result


def mxu_cycles(c):
    """Of one body, when its matrix units never wait. Head dimensions are padded to their side."""
    side = CHIPS[c["chip"]][2]
    pad, pad_v = ceil(c["head_dim"], side), ceil(c["head_dim_v"], side)
    of_dim, of_dim_v = {"fwd": (1, 1), "dq": (2, 1), "dkv": (2, 2), "fused": (3, 2)}[c["kernel"]]
    rate = 2.0 if side == 128 else 1.0
    return c["block_q"] * c["block_kv"] / 1024 * rate * (of_dim * pad + of_dim_v * pad_v)


def body_cycles(constants, c, masked):
    features = schedule_features(c, masked)
    return sum(constants.get(name, 0) * x for name, x in features.items())


# --- Steps, copies and passes around the kernel, of tokamax's kernel on causal and full masks ---

def count_steps(c):
    """Of one head."""
    nq, nkv = c["length"] // c["block_q"], c["length"] // c["block_kv"]
    if not c["causal"]:
        full, partial = nq * nkv, 0
    else:
        i, j = np.arange(nq)[:, None], np.arange(nkv)[None, :]
        full = int((i * c["block_q"] >= (j + 1) * c["block_kv"] - 1).sum())
        seen = int(((i + 1) * c["block_q"] - 1 >= j * c["block_kv"]).sum())
        partial = seen - full
    return {"q_blocks": nq, "kv_blocks": nkv, "full": full, "partial": partial,
            "outputs": nq if c["kernel"] == "fwd" else nkv}


def row_bytes(dim, layout):
    """Of one position of one head in bfloat16, padded as a tile of HBM is."""
    return 2 * (ceil(dim, 128) * 128 if layout == 1 else ceil(dim, 16) * 16)


def copied_bytes(c, steps):
    """HBM bytes of the kernel's own copies, for all sequences."""
    visits = steps["full"] + steps["partial"]
    q_row, o_row = row_bytes(c["head_dim"], c["q_layout"]), row_bytes(c["head_dim_v"], 1)
    kv_row = row_bytes(c["head_dim"], c["k_layout"]) + row_bytes(c["head_dim_v"], c["v_layout"])
    if c["kernel"] == "fwd":
        kv = c["kv_heads"] if steps["kv_blocks"] == 1 else c["heads"] * visits
        position = q_row + o_row + 1024 * c["residuals"] + 512 * c["causal"]
        return c["batch"] * (kv * c["block_kv"] * kv_row + c["heads"] * c["length"] * position)
    dq = 2 if steps["kv_blocks"] <= 4 else 4
    position = q_row + o_row + 64 + 32 * c["causal"] + ceil(c["head_dim"], 128) * 128 * dq
    return c["batch"] * c["heads"] * (visits * c["block_q"] * position + 2 * c["length"] * kv_row)


PASSES = ["copy", "transpose", "stream"]


def pass_bytes(c, steps):
    """HBM bytes that XLA reads and writes around the kernel, by kind of pass: tokamax's operands
    are [batch, length, heads, dim], which XLA keeps with the length minor where dim is no multiple
    of 128."""
    total = dict.fromkeys(PASSES, 0)
    tokens = c["batch"] * c["length"]

    def move(heads, dim, to, is_scaled=False):
        kept = 1 if dim % 128 == 0 else 2
        size = tokens * heads * (row_bytes(dim, kept) + row_bytes(dim, to))
        if kept == 2 and to == 2:
            total["stream"] += size * is_scaled
        else:
            total["copy" if kept == to else "transpose"] += size

    heads, kv_heads, dim, dim_v = c["heads"], c["kv_heads"], c["head_dim"], c["head_dim_v"]
    move(heads, dim, c["q_layout"], is_scaled=True)
    move(kv_heads, dim, c["k_layout"])
    move(kv_heads, dim_v, c["v_layout"])
    move(heads, dim_v, 1)  # out, or do.
    if c["kernel"] == "fwd":
        total["stream"] += tokens * heads * 1024 * c["residuals"]
        return total
    for number, size in ((heads, dim), (kv_heads, dim), (kv_heads, dim_v)):  # dq, dk, dv.
        move(number, size, 1)
    kept = 1 if dim_v % 128 == 0 else 2
    wide = ceil(dim_v, 128) * 128 * 4  # out in float32 is written and read again for di.
    total["stream"] += tokens * heads * 2 * row_bytes(dim_v, kept)
    total["stream"] += tokens * heads * wide * (2 if kept == 1 else 4)
    dq = 2 if steps["kv_blocks"] <= 4 else 4
    parts = steps["kv_blocks"] * dq if steps["kv_blocks"] > 1 else 2
    total["stream"] += tokens * heads * ceil(dim, 128) * 128 * (parts + 2)
    return total


def is_single(c, steps):
    """One step an output block: its schedule has no sections of their own for outputs."""
    return not c["causal"] and steps["kv_blocks" if c["kernel"] == "fwd" else "q_blocks"] == 1


def cycles_of_head(schedule, c, steps):
    static = dict(c, library="tokamax", static=int(not c["causal"]), mask="computed", segments=0,
                  soft_cap=0, dtype="bfloat16")
    cycles = steps["full"] * body_cycles(schedule, static, 0)
    cycles += steps["partial"] * body_cycles(schedule, static, 1)
    residuals, lp = c["residuals"], c["lp"]
    if c["causal"]:
        visited = schedule["visited"] + schedule["visited_residuals"] * residuals
        cycles += (steps["full"] + steps["partial"]) * visited
    if not is_single(c, steps):
        row = schedule["output_row"] + schedule["output_row_residuals"] * residuals
        row += schedule["output_row_tile"] * tiles(c)
        row += lp * (schedule["output_row_lp"] + schedule["output_row_residuals_lp"] * residuals)
        cycles += steps["outputs"] * c["block_q" if c["kernel"] == "fwd" else "block_kv"] * row
    return cycles


# --- Time ---

# Constant: expectation, trust in it, bounds. Times in microseconds; clock and bandwidth are shares
# of the chip's own, passes the multiple of the time that their bytes would take at full bandwidth;
# `lists` is what a grid that follows lists takes beyond its schedule.
TIME = {"clock": (1.0, 0.1, 0.7, 1.1), "step": (0.03, 0.05, 0, 0.4), "latency": (0.6, 0.3, 0, 2),
        "bandwidth": (0.85, 0.1, 0.5, 1), "copy": (1.5, 0.5, 1, 4), "transpose": (1.5, 0.5, 1, 4),
        "stream": (1.2, 0.2, 1, 4), "call": (10, 10, 0, 60),
        "lists": (0, 0.04, -0.2, 0.2)}


class Row:
    """A configuration, with what of it does not depend on the constants of TIME."""

    def __init__(self, c, schedule):
        self.c = c
        bandwidth, cores, _, self.clock = CHIPS[c["chip"]]
        steps = count_steps(c)
        programs = c["batch"] * (c["heads"] if c["kernel"] == "fwd" else 1)
        cores = programs / ceil(programs, cores)  # That work.
        visits = steps["full"] + steps["partial"]
        self.cycles = cycles_of_head(schedule, c, steps) / visits
        self.mxu = mxu_cycles(c)
        self.visits = c["batch"] * c["heads"] * visits / cores
        self.copies = copied_bytes(c, steps) / (self.visits * cores) / (bandwidth * 1e3) * cores
        self.passes = [x / (bandwidth * 1e3) for x in pass_bytes(c, steps).values()]
        self.milliseconds = c["milliseconds"]

    def predict(self, constants):
        clock, step, latency, bandwidth, copy, transpose, stream, call, lists = constants
        cycles = self.cycles * (1 + lists * self.c["causal"]) / clock
        compute = max(cycles, self.mxu) / (self.clock * 1e3) + step
        kernel = self.visits * max(compute, latency + self.copies / bandwidth)
        passes = np.dot(self.passes, [copy, transpose, stream])
        return (kernel + passes + call) / 1e3


def errors_of(constants, rows):
    predicted = np.array([row.predict(constants) for row in rows])
    measured = np.array([row.milliseconds for row in rows])
    return predicted / measured - 1


def fit_times(rows, ridge=0.02):
    expected, trust, low, high = np.array(list(TIME.values())).T
    weights = np.array([1 if row.c["length"] >= 4096 else 0.6 for row in rows])
    return least_squares(
        lambda x: np.concatenate([errors_of(x, rows) * weights, ridge * (x - expected) / trust]),
        expected, bounds=(low - 1e-9, high + 1e-9), loss="soft_l1", f_scale=0.05).x


SHAPE = ["batch", "length", "heads", "kv_heads", "head_dim", "head_dim_v", "causal", "residuals"]


def is_held_out(c):
    """A third of the shapes, whatever the chip, is never fitted to."""
    text = ",".join(str(c[name]) for name in SHAPE)
    return hashlib.sha256(text.encode()).digest()[0] % 3 == 0


def mean_over_revisions(timings):
    groups = collections.defaultdict(list)
    for row in timings:
        key = tuple(x for name, x in row.items() if name not in ("revision", "milliseconds"))
        groups[key].append(row)
    return [dict(group[0], milliseconds=float(np.mean([row["milliseconds"] for row in group])))
            for group in groups.values()]


def summary(name, errors, rows):
    errors = abs(errors)
    long = np.array([row.c["length"] >= 4096 for row in rows])
    def of(e):
        return f"{100 * e.mean():.1f} % (max {100 * e.max():.1f} %, {len(e)})" if len(e) else "none"
    return f"{name}: length >= 4096 {of(errors[long])}, all {of(errors)}"


def cross_validated(rows, folds=4):
    shapes = sorted({tuple(row.c[name] for name in SHAPE) for row in rows})
    np.random.RandomState(0).shuffle(shapes)
    fold = {tuple(shape): i % folds for i, shape in enumerate(shapes)}
    mine = np.array([fold[tuple(row.c[name] for name in SHAPE)] for row in rows])
    errors = np.zeros(len(rows))
    for i in range(folds):
        constants = fit_times([row for row, f in zip(rows, mine) if f != i])
        errors[mine == i] = errors_of(constants, [row for row, f in zip(rows, mine) if f == i])
    return errors


def cpp(constants):
    order = sorted(constants, key=lambda name: SCHEDULE.index(name) if name in SCHEDULE else 0)
    fields = (f".{name} = {constants[name]:.4g}" for name in order if abs(constants[name]) > 1e-4)
    return "{" + ", ".join(fields) + "}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path, help="folder of the two CSV files")
    parser.add_argument("--cpp", action="store_true", help="print the tables of constants alone")
    parser.add_argument("--rows", action="store_true", help="print every held-out configuration")
    options = parser.parse_args()
    schedules = fit_schedules(read(options.data / "tpu_schedules.csv"))
    for key, (constants, mean, largest, count) in sorted(schedules.items()):
        if options.cpp:
            library, chip, kernel = key
            print(f'{{"{chip}", SplashLibrary::k{library.title()}, "{kernel}", {cpp(constants)}}},')
        else:
            print(*key, f"bundles: mean error {100 * mean:.1f} %, max {100 * largest:.1f} %,",
                  count, "bodies")
    timings = mean_over_revisions(read(options.data / "tokamax_timings.csv"))
    for chip, kernel in sorted({(c["chip"], c["kernel"]) for c in timings}):
        schedule = schedules["tokamax", chip, kernel][0]
        rows = [Row(c, schedule) for c in timings if (c["chip"], c["kernel"]) == (chip, kernel)]
        report(chip, kernel, rows, options)


def report(chip, kernel, rows, options):
    fitted = [row for row in rows if not is_held_out(row.c)]
    held_out = [row for row in rows if is_held_out(row.c)]
    constants = fit_times(fitted)
    errors = cross_validated(rows)
    long = np.array([row.c["length"] >= 4096 for row in rows])
    fields = dict(zip(TIME, constants)) | {"uncertainty": np.sqrt((errors[long] ** 2).mean())}
    if options.cpp:
        print(f'{{"{chip}", {str(kernel != "fwd").lower()}, {cpp(fields)}}},')
        return
    print(f"\n{chip} {kernel}: {cpp(fields)}")
    print("   ", summary("fitted", errors_of(constants, fitted), fitted))
    print("   ", summary("held out", errors_of(constants, held_out), held_out))
    print("   ", summary("4-fold by shape", errors, rows))
    pairs = zip(held_out, errors_of(constants, held_out)) if options.rows else []
    for row, error in sorted(pairs, key=lambda pair: -abs(pair[1])):
        names = SHAPE + ["block_q", "block_kv", "block_kv_compute", "q_layout", "k_layout",
                         "v_layout", "lp"]
        print("       ", *(row.c[name] for name in names), round(row.milliseconds, 3),
              f"{100 * error:+.1f} %")


if __name__ == "__main__":
    main()
