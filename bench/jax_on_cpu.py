# SPDX-License-Identifier: Apache-2.0
"""Attention inside jit on the CPU beside jax.nn.dot_product_attention, forward and with gradients:
the same arrays, taking turns. Verifies first, then times.

    build/venv/bin/python bench/jax_on_cpu.py
"""

import os
import statistics
import sys
import time

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

import splashmask as sm
import splashmask.jax as smj

HEADS, LENGTH, DIM, BLOCK = 8, 4096, 128, 512


def medians(functions, arguments, runs=7):
    times = [[] for _ in functions]
    for _ in range(runs):
        for function, into in zip(functions, times):
            time.sleep(0.3)  # Threads of XLA's free what the one before has left.
            begin = time.perf_counter()
            jax.block_until_ready(function(*arguments))
            into.append(time.perf_counter() - begin)
    return [statistics.median(into) for into in times]


def main():
    sizes = smj.BlockSizes(**{name: BLOCK for name in (
        "block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")})
    mask = sm.MultiHeadMask([sm.CausalMask((LENGTH, LENGTH))] * HEADS)
    kernel = smj.make_splash_mha_single_device(mask, block_sizes=sizes)
    q, k, v, do = (jax.random.normal(jax.random.key(i), (HEADS, LENGTH, DIM)) for i in range(4))

    def ours(q, k, v):
        return kernel(q / DIM**0.5, k, v)

    def jax_s(q, k, v):  # [batch, length, heads, dim]
        q, k, v = (x.swapaxes(0, 1)[None] for x in (q, k, v))
        return jax.nn.dot_product_attention(q, k, v, is_causal=True)[0].swapaxes(0, 1)

    for what, make in (
            ("fwd", jax.jit),
            ("fwd + grad", lambda f: jax.jit(jax.grad(lambda *x: (f(*x) * do).sum(), (0, 1, 2))))):
        functions = [make(ours), make(jax_s)]
        for got, want in zip(*(jax.tree.leaves(f(q, k, v)) for f in functions)):
            worst = float(np.abs(got - want).max())
            if not worst < 2e-4:
                sys.exit(f"{what}: differs from JAX by {worst}; nothing was timed")
        mine, theirs = medians(functions, (q, k, v))
        print(f"{what:<12} {mine * 1e3:8.1f} ms  jax.nn.dot_product_attention {theirs * 1e3:8.1f} ms  "
              f"{theirs / mine:5.2f} x  (asked 2)")


if __name__ == "__main__":
    main()
