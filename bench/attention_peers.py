# SPDX-License-Identifier: Apache-2.0
"""Attention on the CPU beside torch, in one run: the same arrays, the same threads, taking turns.

Every output and gradient is compared before anything is timed. torch is needed here alone: pip
install torch, then python bench/attention_peers.py [--threads N] [--length S]
"""

import argparse
import functools
import statistics
import sys
import time

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention as sdpa

import splashmask as sm

HEADS, DIM, BLOCK = 8, 128, 512


def interleaved_medians(functions, runs=9):
    """Seconds of each, run in turns, so that all meet the same noise."""
    times = [[] for _ in functions]
    for _ in range(runs):
        for function, into in zip(functions, times):
            begin = time.perf_counter()
            function()
            into.append(time.perf_counter() - begin)
    return [statistics.median(into) for into in times]


def close(name, got, want, tolerance):
    worst = np.abs(np.asarray(got, np.float32) - np.asarray(want, np.float32)).max()
    if not worst <= tolerance:
        sys.exit(f"{name}: differs from torch by {worst}; nothing was timed")


class Problem:
    def __init__(self, mask, threads, length, dtype=torch.float32, heads=HEADS):
        rng = np.random.default_rng(0)
        self.q, self.k, self.v, self.do = (
            torch.from_numpy(rng.standard_normal((heads, length, DIM), np.float32)).to(dtype)
            for _ in range(4))
        self.q = (self.q / DIM**0.5).to(dtype)
        plan = sm.compile(sm.MultiHeadMask([mask] * heads), block_q=BLOCK, block_kv=BLOCK)
        self.attention = sm.SplashAttention(plan, threads=threads)
        self.arrays = [x if dtype == torch.float32 else _bfloat16(x)
                       for x in (self.q, self.k, self.v, self.do)]

    def ours(self):
        return self.attention(*self.arrays[:3])

    def ours_with_gradients(self):
        q, k, v, do = self.arrays
        out, logsumexp = self.attention(q, k, v, save_residuals=True)
        return out, *self.attention.backward(q, k, v, out, logsumexp, do)

    def torch_s(self, attention):
        with torch.no_grad():
            return attention(self.q[None], self.k[None], self.v[None])[0]

    def torch_s_with_gradients(self, attention):
        q, k, v = (x[None].requires_grad_() for x in (self.q, self.k, self.v))
        out = attention(q, k, v)
        out.backward(self.do[None])
        return out.detach()[0], *(x.grad[0] for x in (q, k, v))


def _bfloat16(tensor):
    import ml_dtypes
    return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)


def _floats(array):
    return array.float().numpy() if isinstance(array, torch.Tensor) else np.asarray(array, np.float32)


def report(what, ours, peers, asked):
    for (name, seconds), ask in zip(peers, asked):
        ratio = seconds / ours
        print(f"{what:<34} {ours * 1e3:9.1f} ms  {name:<28} {seconds * 1e3:9.1f} ms  "
              f"{ratio:6.2f} x  (asked {ask})", flush=True)


def forward(what, mask, peers, asked, threads, length, dtype=torch.float32, tolerance=2e-5):
    problem = Problem(mask, threads, length, dtype)
    functions = [functools.partial(problem.torch_s, peer) for _, peer in peers]
    for (name, _), function in zip(peers, functions):
        close(f"{what}, {name}", _floats(problem.ours()), _floats(function()), tolerance)
    ours, *theirs = interleaved_medians([problem.ours, *functions])
    report(what, ours, [(name, t) for (name, _), t in zip(peers, theirs)], asked)
    return ours


def gradients(what, mask, peers, asked, threads, length):
    problem = Problem(mask, threads, length)
    functions = [functools.partial(problem.torch_s_with_gradients, peer) for _, peer in peers]
    for (name, _), function in zip(peers, functions):
        for part, got, want in zip(("out", "dq", "dk", "dv"), problem.ours_with_gradients(), function()):
            close(f"{what}, {part}, {name}", got, _floats(want), 1e-3)
    ours, *theirs = interleaved_medians([problem.ours_with_gradients, *functions], runs=5)
    report(what, ours, [(name, t) for (name, _), t in zip(peers, theirs)], asked)


def packed_documents(threads, length=32768, mean=2048):
    """One head of documents of many lengths, causal in each, beside SDPA with the same mask dense."""
    rng = np.random.default_rng(0)
    lengths = []
    while sum(lengths) < length:
        lengths.append(min(int(rng.integers(mean // 8, 2 * mean)), length - sum(lengths)))
    shape = (length, length)
    mask = sm.CausalMask(shape) & sm.documents(shape, lengths)
    problem = Problem(mask, threads, length, heads=1)
    cells = torch.from_numpy(np.array(mask[:, :]))
    peer = functools.partial(problem.torch_s, functools.partial(sdpa, attn_mask=cells, scale=1.0))
    close("packed documents", problem.ours(), _floats(peer()), 2e-5)
    ours, theirs = interleaved_medians([problem.ours, peer], runs=3)
    pairs = length**2 / sum(n * (n + 1) // 2 for n in lengths)
    print(f"packed documents, S={length}, H=1: {ours * 1e3:.1f} ms, SDPA bool mask {theirs * 1e3:.1f} ms: "
          f"{theirs / ours:.1f} x, and {pairs:.1f} x as many pairs: {theirs / ours / pairs:.2f} of that  "
          "(asked at least 0.75)", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--length", type=int, default=4096)
    arguments = arguments.parse_args()
    threads, length = arguments.threads, arguments.length
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {threads} threads, H={HEADS}, S={length}, D={DIM}")
    shape = (length, length)
    causal = sm.CausalMask(shape)
    is_causal = functools.partial(sdpa, is_causal=True, scale=1.0)
    forward("fwd full", sm.FullMask(shape), [("SDPA", functools.partial(sdpa, scale=1.0))], ["-"],
            threads, length)
    f32 = forward("fwd causal", causal, [("SDPA is_causal", is_causal)], ["1.15"], threads, length)
    local = sm.LocalMask(shape, (1024, 0), 0)
    cells = torch.from_numpy(np.array(local[:, :]))
    block_mask = create_block_mask(lambda b, h, q, kv: (q >= kv) & (q - kv <= 1024), None, None,
                                   *shape, device="cpu")
    compiled = torch.compile(flex_attention)
    forward("fwd local(1024, 0)", local,
            [("compiled FlexAttention", functools.partial(compiled, block_mask=block_mask, scale=1.0)),
             ("SDPA bool mask", functools.partial(sdpa, attn_mask=cells, scale=1.0))],
            ["1.5", "5"], threads, length)
    gradients("fwd + bwd causal", causal, [("SDPA is_causal", is_causal)], ["1.3"], threads, length)
    bf16 = forward("fwd causal bfloat16", causal, [("SDPA is_causal bfloat16", is_causal)], ["-"],
                   threads, length, torch.bfloat16, tolerance=2e-2)
    print(f"bfloat16 against our float32: {f32 / bf16:.2f} x")
    packed_documents(threads)


if __name__ == "__main__":
    main()
