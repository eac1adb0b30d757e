# SPDX-License-Identifier: Apache-2.0
"""Errors of attention on the CPU beside torch's, on the same arrays, against attention in float64.

Each dtype is compared with torch in that dtype; "asked" is that ours are at most 1.25 times torch's.
torch is needed here alone: pip install torch, then python bench/attention_accuracy.py [--seeds N]
"""

import argparse
import sys

import ml_dtypes
import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

import splashmask as sm

HEADS, LENGTH, DIM, BLOCK = 4, 1024, 128, 256
ASKED = 1.25


def normal(rng):
    q, k, v = (rng.standard_normal((HEADS, LENGTH, DIM)) for _ in range(3))
    return q / DIM**0.5, k, v


def large_logits(rng):
    """Logits up to 1e4 in size."""
    q, k, v = normal(rng)
    return q * (1e4 / np.abs(np.einsum("hqd,hkd->hqk", q, k)).max()), k, v


def equal_rows(rng):
    """Every key the same, so that every weight of a row is."""
    q, k, v = normal(rng)
    return q, np.broadcast_to(k[:, :1], k.shape).copy(), v


def in_float64(q, k, v, cells):
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    logits = np.where(cells, np.einsum("hqd,hkd->hqk", q, k), -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("hqk,hkd->hqd", weights / weights.sum(-1, keepdims=True), v)


def errors(attention, cells, make, dtype, seeds):
    """The largest error of ours and of torch's, over all seeds."""
    ours = theirs = 0.0
    for seed in range(seeds):
        arrays = [x.astype(dtype) for x in make(np.random.default_rng(seed))]
        expected = in_float64(*arrays, cells)
        out = np.asarray(attention(*arrays), np.float64)
        tensors = [torch.from_numpy(x.astype(np.float32)) for x in arrays]
        if dtype == ml_dtypes.bfloat16:
            tensors = [x.bfloat16() for x in tensors]
        torch_s = sdpa(*(x[None] for x in tensors), is_causal=True, scale=1.0)[0]
        ours = max(ours, np.abs(out - expected).max())
        theirs = max(theirs, np.abs(torch_s.double().numpy() - expected).max())
    return ours, theirs


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=8)
    seeds = arguments.parse_args().seeds
    mask = sm.CausalMask((LENGTH, LENGTH))
    attention = sm.SplashAttention(
        sm.compile(sm.MultiHeadMask([mask] * HEADS), block_q=BLOCK, block_kv=BLOCK))
    cells = np.array(mask[:, :])
    print(f"torch {torch.__version__}, causal, H={HEADS}, S={LENGTH}, D={DIM}, {seeds} seeds; "
          "largest errors against float64")
    missed = False
    for make in (normal, large_logits, equal_rows):
        for dtype in (np.float32, ml_dtypes.bfloat16):
            ours, theirs = errors(attention, cells, make, dtype, seeds)
            missed |= ours > ASKED * theirs
            print(f"{make.__name__:<14} {np.dtype(dtype).name:<9} ours {ours:.3e}  torch {theirs:.3e}  "
                  f"{ours / theirs:5.2f} x  (asked at most {ASKED})", flush=True)
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
