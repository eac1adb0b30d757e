# SPDX-License-Identifier: Apache-2.0
"""The time model against measured times.

tests/planner/data/tokamax_timings.csv holds timings of tokamax's autotuning cache (tokamax 0.0.12 and
earlier revisions, Apache-2.0, The Tokamax Authors): milliseconds of its dot_product_attention and of
the gradients, at the block sizes that were the fastest. The constants of the model were fitted without
a third of the shapes (tools/fit_time_model.py).
"""

import csv
import functools
import hashlib
import importlib.util
import itertools
import pathlib

import numpy as np
import pytest

from splashmask import _core, parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DATA = ROOT / "tests" / "planner" / "data"
SHAPE = ("batch", "length", "heads", "kv_heads", "head_dim", "head_dim_v", "causal", "residuals")


def is_held_out(row):
    """tools/fit_time_model.py has the same rule, and fits to the others."""
    text = ",".join(str(row[name]) for name in SHAPE)
    return hashlib.sha256(text.encode()).digest()[0] % 3 == 0


@functools.cache
def tokamax_plan(kernel, length, heads, causal, block_q, block_kv):
    mask = parse("causal()" if causal else "full()", (length, length))
    passes = {kernel: ((block_q, block_kv), 1, 1, False, True, False)}
    return _core.compile_tokamax([mask._expr] * heads, **passes, threads=1)


def predict(row, length_major=True):
    """What the model says of a row."""
    is_forward = row["kernel"] == "fwd"
    kernel = "fwd_residuals" if is_forward and row["residuals"] else row["kernel"]
    plan = tokamax_plan("fwd" if is_forward else "dkv", row["length"], row["heads"], row["causal"],
                        row["block_q"], row["block_kv"])
    blocks = (row["block_q"], row["block_kv"], row["block_kv_compute"])
    seq_minor = tuple(row[name] == 2 for name in ("q_layout", "k_layout", "v_layout"))
    (time,) = _core.attention_time(
        plan, kernel, row["chip"], blocks, seq_minor, row["batch"], row["kv_heads"], row["head_dim"],
        row["head_dim_v"], "bfloat16", False, False, True, bool(row["lp"]), length_major)
    return time


@functools.cache
def timings():
    """Configurations with the mean of their revisions, and what the model says."""
    groups = {}
    with open(DATA / "tokamax_timings.csv", newline="") as file:
        for row in csv.DictReader(file):
            milliseconds, _ = float(row.pop("milliseconds")), row.pop("revision")
            groups.setdefault(tuple(row.items()), []).append(milliseconds)
    rows = []
    for items, milliseconds in groups.items():
        row = {name: value if name in ("chip", "kernel") else int(value) for name, value in items}
        row["measured"] = np.mean(milliseconds)
        row["time"] = predict(row)
        row["error"] = abs(row["time"]["total"] * 1e3 / row["measured"] - 1)
        rows.append(row)
    return rows


MEASURED = [("v5p", "fwd"), ("v6e", "fwd"), ("tpu7x", "fwd"), ("tpu7x", "fused")]


@pytest.mark.parametrize("chip, kernel", MEASURED)
def test_held_out_shapes(chip, kernel):
    rows = [row for row in timings() if (row["chip"], row["kernel"]) == (chip, kernel)]
    held_out = [row for row in rows if is_held_out(row)]
    assert 0.15 * len(rows) < len(held_out) < 0.5 * len(rows)
    long = np.array([row["error"] for row in held_out if row["length"] >= 4096])
    assert long.mean() <= 0.03 and long.max() <= 0.08, (long.mean(), long.max())
    every = np.array([row["error"] for row in held_out])
    assert every.mean() <= 0.05, every.mean()


def test_measured_configurations_are_not_called_extrapolated():
    assert len(timings()) == 301
    assert not any(row["time"]["caveats"] for row in timings())


# "Performance Benchmarks on Ironwood TPU", November 13, 2025, microbenchmarks.pdf in tokamax's folder
# of splash attention: milliseconds of the kernel at batch 1, 32 heads, 8 kv heads, causal, at the best
# block sizes, which it does not name. Nothing was fitted to it.
IRONWOOD = {("fwd", 128, 128): {4096: 0.58, 8192: 1.93, 32768: 24.75, 131072: 357.20},
            ("fwd", 192, 128): {4096: 0.59, 8192: 1.98, 32768: 25.41, 131072: 371.30},
            ("fwd", 256, 256): {4096: 0.67, 8192: 2.14, 32768: 26.93, 131072: 386.39},
            ("fused", 128, 128): {4096: 1.19, 8192: 3.98, 32768: 55.05, 131072: 823.43},
            ("fused", 192, 128): {4096: 1.23, 8192: 4.14, 32768: 56.97, 131072: 840.74},
            ("fused", 256, 256): {4096: 1.25, 8192: 4.20, 32768: 58.11, 131072: 853.37}}


def best_kernel_time(kernel, length, head_dim, head_dim_v):
    blocks = (512, 1024, 2048, 4096)
    best = np.inf
    for block_q, block_kv, compute in itertools.product(blocks, blocks, (256, 512, 1024)):
        if compute > block_kv or max(block_q, block_kv) > length:
            continue
        if kernel == "fused" and block_q * block_kv > 2048 * 4096:  # VMEM.
            continue
        for k_layout, lp in itertools.product((1, 2), (0, 1)) if kernel == "fwd" else [(1, 0)]:
            row = dict(chip="tpu7x", kernel=kernel, batch=1, length=length, heads=32, kv_heads=8,
                       head_dim=head_dim, head_dim_v=head_dim_v, causal=1, residuals=0,
                       block_q=block_q, block_kv=block_kv, block_kv_compute=compute, q_layout=1,
                       k_layout=k_layout, v_layout=1, lp=lp)
            best = min(best, predict(row, length_major=False)["kernel"])
    return best * 1e3


@pytest.mark.parametrize("key", IRONWOOD, ids=lambda key: "-".join(map(str, key)))
def test_published_ironwood_table(key):
    kernel, head_dim, head_dim_v = key
    for length, published in IRONWOOD[key].items():
        error = best_kernel_time(kernel, length, head_dim, head_dim_v) / published - 1
        limit = {128: 0.03, 192: 0.06, 256: 0.06}[head_dim] if kernel == "fwd" else 0.11
        assert abs(error) <= limit, (length, published, error)


def test_the_fit_holds_out_the_same_shapes():
    pytest.importorskip("scipy", reason="tools/fit_time_model.py needs scipy")
    spec = importlib.util.spec_from_file_location("fit", ROOT / "tools" / "fit_time_model.py")
    fit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fit)
    assert all(fit.is_held_out(row) == is_held_out(row) for row in timings())
