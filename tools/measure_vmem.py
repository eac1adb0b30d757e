#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks the TPU compiler how much scoped VMEM splash attention kernels take, and what it refuses.

Draws random calls of JAX's kernel, compiles each ahead of time for a chip that is only described
(libtpu needs no TPU), and appends a row for every kernel to a CSV file:

    tools/measure_vmem.py --seed 1 --count 100 --output vmem.csv

--whole-vmem lets kernels have all of VMEM: nothing is refused for it, and no operand is kept there.
`fits` is 1 where the kernel compiled under `limit_kib`. `bytes` is what the compiler gave it, or, where
it refused, what it had asked for by then. `in_vmem` are the operands, and after `=` the results, that
XLA kept in VMEM as a whole. A call that needs more HBM than the chip has gives no row, nor does one
that the compiler dies of, which is told on stderr: each is compiled in a process of its own.
"""

import argparse
import csv
import math
import multiprocessing
import os
import random
import signal
import sys
import tempfile

from splashmask.tpu_compiler import CHIPS, TpuCompiler

COLUMNS = ["seed", "chip", "kernel", "residuals", "dtype", "batch", "heads", "kv_heads", "q_len",
           "kv_len", "head_dim", "head_dim_v", "block_q", "block_kv", "block_kv_compute", "q_layout", "k_layout",
           "v_layout", "mask", "partial_blocks", "segments", "soft_cap", "limit_kib", "fits", "bytes", "in_vmem"]
KERNELS = {"fwd": ["fwd"], "bwd": ["fwd", "dq", "dkv"], "fused": ["fwd", "fused"]}
SUFFIXES = {"fwd": "", "dq": "_dq", "dkv": "_dkv", "fused": "_dkv"}
BLOCKS = [128, 256, 512, 1024, 2048, 4096]
MOST_KIB = 96 << 10
PARTIAL = "local(700, 300) & stride(3)"


def draw(seed):
    """A call that the kernel takes, and a limit between the chip's default and MOST_KIB; nine in ten
    lie within a factor of 2 of a guess of what each of its kernels needs."""
    random.seed(seed)
    pick = random.choice
    chip = pick(list(CHIPS))
    least = CHIPS[chip]["scoped_vmem_bytes"] >> 10
    most = min(MOST_KIB, CHIPS[chip]["vmem_bytes"] >> 10)
    is_near = random.random() < 0.9
    while True:
        c = {"seed": seed, "chip": chip} | draw_call(pick)
        if not is_near:
            return c | {"limit_kib": pick([least, most, random.randint(least, most)])}
        guesses = [guessed_bytes(c, kernel) / 1024 for kernel in KERNELS[c["passes"]]]
        limit = min(max(pick(guesses) * 2 ** random.uniform(-1, 1), least), most)
        if all(limit / 2 <= guess <= limit * 2 for guess in guesses):
            return c | {"limit_kib": int(limit)}


def draw_call(pick):
    c = {"dtype": random.choices(["bfloat16", "float32"], [5, 1])[0], "batch": pick([1, 4, 8, 16]),
         "heads": pick([8, 16, 32, 32, 64]), "mask": pick(["causal", "causal", "full", "partial"]),
         "segments": int(random.random() < 0.25), "soft_cap": int(random.random() < 0.15),
         "passes": pick(list(KERNELS))}
    c["kv_heads"] = pick([h for h in (1, 4, 8, 8, 16, 32, 64) if c["heads"] % h == 0])
    c["head_dim"] = pick([64, 96, 128, 128, 128, 192, 256])
    c["head_dim_v"] = c["head_dim"] if random.random() < 0.8 else pick([64, 128, 256])
    for suffix in ("", "_dkv", "_dq"):
        while True:
            q, kv = random.choices(BLOCKS, [2, 4, 6, 6, 4, 1], k=2)
            if q * kv <= 1 << 20 or random.random() < 0.12:  # Large ones take minutes to compile.
                break
        c["block_q" + suffix], c["block_kv" + suffix] = q, kv
    for suffix in ("", "_dkv"):
        kv = c["block_kv" + suffix]
        c[f"block_kv{suffix}_compute"] = pick([b for b in BLOCKS if b <= kv])
    for name in ("q_layout", "k_layout", "v_layout"):
        c[name] = int(random.random() < 0.8)  # 1: head dim minor.
    longest = max(4096, *(c[name] for name in c if name.startswith("block_")))
    c["q_len"] = longest * pick([1, 2, 4])
    c["kv_len"] = c["q_len"] if c["mask"] == "causal" else longest * pick([1, 2, 4])
    return c


def guessed_bytes(c, kernel):
    """Windows and logits of a kernel, roughly: it only says where limits are interesting."""
    q, kv, compute = blocks_of(c, kernel)
    width = 2 if c["dtype"] == "bfloat16" else 4
    d, d_v = (math.ceil(c[name] / 128) * 128 for name in ("head_dim", "head_dim_v"))
    sums = 4 if c["batch"] == 1 else 8
    guess = 2 * width * (q + kv) * (d + d_v) + 1.3 * 4 * q * compute
    if c["mask"] == "partial":
        guess += 8 * q * kv
    if kernel == "fwd":
        return guess + sums * q * (256 + d_v) + (c["passes"] != "fwd") * 1024 * q
    if kernel == "dq":
        return guess + (2 * width + sums) * q * d
    return guess + (2 * width + sums) * kv * (d + d_v) + (kernel == "fused") * 2 * width * q * d


def blocks_of(c, kernel):
    suffix = SUFFIXES[kernel]
    q, kv = c["block_q" + suffix], c["block_kv" + suffix]
    return q, kv, kv if kernel == "dq" else c[f"block_kv{suffix}_compute"]


def build(c):
    """A function of q, k, v and segment ids, vmapped over the batch, and their shapes."""
    import jax
    import jax.numpy as jnp
    import splashmask as sm
    import splashmask.jax as smj
    shape = (c["q_len"], c["kv_len"])
    head = {"causal": lambda: sm.CausalMask(shape), "full": lambda: sm.FullMask(shape),
            "partial": lambda: sm.parse(PARTIAL, shape)}[c["mask"]]()
    layout = {1: smj.QKVLayout.HEAD_DIM_MINOR, 0: smj.QKVLayout.SEQ_MINOR}
    names = {"fwd": ["block_q", "block_kv", "block_kv_compute"]}
    names["fused"] = names["fwd"] + ["block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"]
    names["bwd"] = names["fused"] + ["block_q_dq", "block_kv_dq"]
    block_sizes = smj.BlockSizes(
        use_fused_bwd_kernel=c["passes"] == "fused", **{name: c[name] for name in names[c["passes"]]},
        **{name: layout[c[name]] for name in ("q_layout", "k_layout", "v_layout")})
    make = smj.make_splash_mqa if c["kv_heads"] == 1 else smj.make_splash_mha
    kernel = make(sm.MultiHeadMask([head] * c["heads"]), block_sizes=block_sizes, head_shards=1,
                  q_seq_shards=1, attn_logits_soft_cap=30.0 if c["soft_cap"] else None)
    dtype = jnp.dtype(c["dtype"])
    kv = () if c["kv_heads"] == 1 else (c["kv_heads"],)
    arguments = [jax.ShapeDtypeStruct((c["batch"], c["heads"], c["q_len"], c["head_dim"]), dtype),
                 jax.ShapeDtypeStruct((c["batch"], *kv, c["kv_len"], c["head_dim"]), dtype),
                 jax.ShapeDtypeStruct((c["batch"], *kv, c["kv_len"], c["head_dim_v"]), dtype)]
    if c["segments"]:
        arguments += [jax.ShapeDtypeStruct((c["batch"], n), jnp.int32) for n in shape]

    def attend(q, k, v, *ids):
        return kernel(q, k, v, segment_ids=smj.SegmentIds(*ids) if ids else None)

    def loss(*operands):
        return jax.vmap(attend)(*operands).astype(jnp.float32).sum()

    return (loss if c["passes"] == "fwd" else jax.grad(loss, argnums=(0, 1, 2))), arguments


def rows_of(c, compiler):
    """Compiles a call; its rows."""
    compiled = compiler.compile(c["chip"], *build(c), c["limit_kib"])
    for kernel in compiled.kernels:
        yield row_for(c, kernel.name) | {"fits": 1, "bytes": kernel.vmem_bytes,
                                         "in_vmem": " ".join(kernel.in_vmem)}
    refusal = compiled.refusal
    # Where it names none of several kernels, which it refuses is not known.
    name = refusal and (refusal.kernel or ("fwd" if c["passes"] == "fwd" else None))
    if name and refusal.vmem_bytes:
        yield row_for(c, name) | {"fits": 0, "bytes": refusal.vmem_bytes}


def row_for(c, name):
    residuals = name == "fwd_residuals"
    kernel = "fwd" if residuals else "fused" if c["passes"] == "fused" and name == "dkv" else name
    blocks = dict(zip(("block_q", "block_kv", "block_kv_compute"), blocks_of(c, kernel)))
    row = {column: c[column] for column in COLUMNS if column in c} | blocks
    row |= {"kernel": kernel, "residuals": int(residuals)}
    return row | {"partial_blocks": partial_blocks(row)}


def partial_blocks(row):
    """Of a kernel's mask, as it is stored."""
    import splashmask as sm
    if row["mask"] != "partial":
        return 0
    process = sm.process_mask_dkv if row["kernel"] in ("dkv", "fused") else sm.process_mask
    mask = sm.MultiHeadMask([sm.parse(PARTIAL, (row["q_len"], row["kv_len"]))])
    info, _ = process(mask, (row["block_q"], row["block_kv"]), head_shards=1, q_seq_shards=1)
    return info.partial_mask_blocks.shape[0]


def with_whole_vmem(c):
    """The call with all of VMEM; what its kernels take there depends on nothing but their blocks, so
    there are no more arrays than needed."""
    small = {"batch": 1, "heads": 8, "kv_heads": min(c["kv_heads"], 8)}
    return c | small | {"limit_kib": CHIPS[c["chip"]]["vmem_bytes"] >> 10}


def measure(c, connection):
    """In a process of its own: sends the rows of a call."""
    connection.send(list(rows_of(c, TpuCompiler())))


def measured(c):
    """The rows of a call; none if the compiler dies of it."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=measure, args=(c, sender))
    process.start()
    sender.close()
    try:
        rows = receiver.recv()
    except EOFError:
        rows = []
    process.join()
    if process.exitcode:
        died = signal.Signals(-process.exitcode).name if process.exitcode < 0 else process.exitcode
        print(f"seed {c['seed']}: the compiler died ({died}), no row", file=sys.stderr, flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True, help="of the first call")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--whole-vmem", action="store_true")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import splashmask.jax  # noqa: F401  Once, not in every process.
    is_new = not os.path.exists(options.output)
    with (open(options.output, "a", newline="") as file,
          tempfile.TemporaryDirectory() as tempfile.tempdir):  # What the dead leave goes with it.
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        for seed in range(options.seed, options.seed + options.count):
            call = draw(seed)
            writer.writerows(measured(with_whole_vmem(call) if options.whole_vmem else call))
            file.flush()


if __name__ == "__main__":
    main()
