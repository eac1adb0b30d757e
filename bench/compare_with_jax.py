#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times Compile beside JAX's process_mask in one run, and prints the table of docs/benchmarks.md.

  tools/bench

Every field of our tables is compared with JAX's before anything is timed. JAX takes a few minutes.
"""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import splashmask
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info

FIELDS = ("data_next", "mask_next", "block_mask", "partial_mask_blocks", "q_sequence")
BLOCK = (512, 512)


def noisy_causal(length):
    """Causal with one cell in a thousand flipped, as compile_benchmark makes it."""
    array = np.tri(length, dtype=np.bool_)
    cells = np.random.default_rng(1).integers(array.size, size=array.size // 1000)
    array.reshape(-1)[cells] ^= True
    return array


@dataclasses.dataclass
class Case:
    name: str  # As compile_benchmark calls it.
    text: str
    length: int
    jax_mask: Callable
    at_least: int  # How many times faster than JAX we claim to be.
    arrays: Callable = dict


def cases():
    dense = noisy_causal(32768)
    return [
        Case(
            "causal_32768",
            "causal()",
            32768,
            lambda: jax_masks.CausalMask((32768, 32768)),
            1000,
        ),
        Case(
            "dense_32768",
            'dense("m")',
            32768,
            lambda: jax_masks.NumpyMask(dense),
            20,
            lambda: {"m": dense},
        ),
        Case(
            "causal_and_local_131072",
            "causal() & local(1024, 0)",
            131072,
            lambda: jax_masks.CausalMask((131072, 131072))
            & jax_masks.LocalMask((131072, 131072), (1024, 0), 0),
            5000,
        ),
    ]


def check(case, ours, theirs):
    for field in FIELDS:
        want, got = getattr(theirs, field), getattr(ours, field)
        if (want is None) != (got is None) or (
            want is not None
            and (want.dtype != got.dtype or want.shape != got.shape or not np.array_equal(want, got))
        ):
            sys.exit(f"{case.name}: {field} differs from JAX's; nothing was timed")


def run_ours(binary):
    out = subprocess.run(
        [binary, "--benchmark_format=json", "--benchmark_repetitions=3"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    results = {}
    for entry in json.loads(out)["benchmarks"]:
        if entry.get("error_occurred"):
            sys.exit(f"{entry['name']}: {entry['error_message']}")
        if entry.get("aggregate_name") in ("median", "stddev"):
            results.setdefault(entry["run_name"].removesuffix("/real_time"), {})[
                entry["aggregate_name"]
            ] = entry
    return results


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    ours = run_ours(sys.argv[1])
    print(f"{processor()}, {os.cpu_count()} processors, jax {jax.__version__}\n")
    print("| mask, block 512 | pass | JAX | splashmask (spread) | ratio | asked | beyond input and output |")
    print("|---|---|---:|---:|---:|---:|---:|")
    missed = False
    for case in cases():
        mask = jax_masks.MultiHeadMask([case.jax_mask()])
        for name, is_dkv in (("fwd", False), ("dkv", True)):
            begin = time.perf_counter()
            theirs, _ = jax_info._process_mask.__wrapped__(mask, BLOCK, is_dkv=is_dkv)
            jax_ms = 1e3 * (time.perf_counter() - begin)
            process = splashmask.process_mask_dkv if is_dkv else splashmask.process_mask
            heads = splashmask.parse_heads(case.text, (case.length,) * 2, arrays=case.arrays())
            tables, _ = process(heads, BLOCK)
            check(case, tables, theirs)
            entry = ours[f"{case.name}/{name}"]
            our_ms, spread = entry["median"]["real_time"], entry["stddev"]["real_time"]
            ratio = jax_ms / our_ms
            missed |= ratio < case.at_least
            extra = entry["median"]["peak_beyond_input_and_output_MiB"]
            print(
                f"| {case.name} | {name} | {jax_ms:,.0f} ms | {our_ms:,.3f} ms (± {spread:,.3f}) | "
                f"{ratio:,.0f} | {case.at_least:,} | {max(0.0, extra):.0f} MiB |",
                flush=True,
            )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
