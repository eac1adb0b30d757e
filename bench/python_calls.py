# SPDX-License-Identifier: Apache-2.0
"""What a call from Python costs, beside JAX and NumPy in one run. Verifies first, then times.

Run by tools/bench, or: build/venv/bin/python bench/python_calls.py
"""

import os
import statistics
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info

import splashmask as sm

FIELDS = ("data_next", "mask_next", "block_mask", "partial_mask_blocks", "q_sequence")


def median_seconds(function, repeat):
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def check(want, got, what):
    for field in FIELDS:
        a, b = getattr(want, field), getattr(got, field)
        if (a is None) != (b is None) or (a is not None and (a.dtype != b.dtype or
                                                             not np.array_equal(a, b))):
            sys.exit(f"{what}: {field} differs from JAX's; nothing was timed")


def row(what, seconds, beside="", asked=""):
    print(f"| {what} | {seconds * 1e6:,.1f} µs | {beside} | {asked} |", flush=True)


def time_masks():
    """Never from a cache: theirs is asked below its cache, ours is emptied before each call."""
    def uncached(mask, block):
        sm.clear_cache()
        return sm.process_mask(mask, block)

    ok = True
    for length, block, repeat in ((32768, 512, 200), (256, 128, 2000)):
        theirs = jax_masks.MultiHeadMask([jax_masks.CausalMask((length, length))])
        ours = sm.MultiHeadMask([sm.CausalMask((length, length))])
        process = jax_info._process_mask.__wrapped__
        check(process(theirs, (block, block), is_dkv=False)[0], uncached(ours, (block, block))[0],
              f"causal {length}")
        jax_seconds = median_seconds(lambda: process(theirs, (block, block), is_dkv=False), 3)
        seconds = median_seconds(lambda: uncached(ours, (block, block)), repeat)
        ratio = jax_seconds / seconds
        asked, met = (("1,000 times faster", ratio >= 1000) if length > 1000 else
                      ("under 100 µs", seconds < 100e-6))
        ok &= met
        row(f"process_mask, causal {length:,}, block {block}", seconds,
            f"JAX {jax_seconds * 1e3:,.2f} ms: {ratio:,.0f} times", asked)
        cached = median_seconds(lambda: sm.process_mask(ours, (block, block)), repeat)
        row("the same again, from the cache", cached)
    return ok


def packed_ids(batch, length):
    rng = np.random.default_rng(0)
    ids = np.zeros((batch, length), np.int32)
    for line in ids:
        ends = np.cumsum(np.maximum(rng.lognormal(np.log(1500) - 0.5, 1.0, 200).astype(int), 1))
        line[:] = np.searchsorted(ends, np.arange(length), side="right") + 1
        line[length - rng.integers(0, 600):] = 0
    return ids


def check_packed(ids, tables, block):
    length = ids.shape[1]
    position = np.arange(length)
    for line, data_next, block_mask in zip(ids, tables.fwd.data_next, tables.fwd.block_mask):
        visible = (line[:, None] == line) & (position[:, None] >= position)
        visible &= (line[:, None] != 0) | (position[:, None] == position)
        want = visible.reshape(length // block, block, -1, block).any((1, 3))
        got = np.zeros_like(want)
        rows, columns = np.nonzero(block_mask[0])
        got[rows, data_next[0][rows, columns]] = True
        if not np.array_equal(want, got):
            sys.exit("compile_packed: other blocks than a dense oracle sees; nothing was timed")


def time_packed():
    ids, block = packed_ids(32, 16384), 512
    check_packed(ids[:2], sm.compile_packed(ids[:2], block_q=block, block_kv=block), block)
    total = median_seconds(ids.sum, 300)
    seconds = median_seconds(lambda: sm.compile_packed(ids, block_q=block, block_kv=block, threads=2),
                             300)
    row("compile_packed, 32 x 16,384 ids, block 512, fwd and dkv", seconds,
        f"ids.sum() {total * 1e6:,.1f} µs: {seconds / total:.2f} times its time", "8 times its time")
    return seconds <= 8 * total


def main():
    print("| call, from Python | splashmask | beside it | asked |")
    print("|---|---:|---:|---|")
    met = [time_masks(), time_packed()]
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
