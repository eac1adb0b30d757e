# SPDX-License-Identifier: Apache-2.0
"""The figures that attention was asked for, beside torch and JAX: `splashmask bench attention` for each of
them, and what was asked. Every number is compared there before it is timed.

    python bench/attention_peers.py [--threads N] [--python PROGRAM] [--splashmask PROGRAM]

--python imports torch and jax, which are needed here alone (pip install torch jax).
"""

import argparse
import json
import os
import random
import subprocess
import sys

BUILT = os.path.join(os.path.dirname(__file__), "../build/release/cli/splashmask")


def documents(length=32768, mean=2048):
    """Documents of many lengths, packed."""
    draw = random.Random(0)
    lengths = []
    while sum(lengths) < length:
        lengths.append(min(draw.randrange(mean // 8, 2 * mean), length - sum(lengths)))
    return f"causal() & documents({lengths})"


def bench(arguments, mask, *more, peers="none"):
    """(our seconds, {peer: ratio}, visible pairs)"""
    command = [arguments.splashmask, "bench", "attention", mask, *more, "--json", "--peers", peers,
               "--python", arguments.python]
    if "--threads" not in more:
        command += ["--threads", str(arguments.threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    (row,) = json.loads(done.stdout)["masks"]
    ratios = {peer["name"]: peer["ratio"] for peer in row["peers"]}
    for peer in row["peers"]:
        if peer["problem"]:
            print(f"  {peer['name']}: {peer['problem']}")
    return row["seconds"], ratios, row["visible_pairs"]


def report(what, seconds, ratio, asked, of="times our time"):
    print(f"{what:<66} {seconds * 1e3:8.1f} ms {ratio:7.2f} {of}  (asked {asked})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--splashmask", default=BUILT)
    arguments = parser.parse_args()
    print(f"{arguments.threads} threads, H=8, S=4096, D=128")

    f32, ratios, _ = bench(arguments, "causal()", peers="sdpa")
    report("forward, causal: torch SDPA is_causal", f32, ratios["sdpa"], 1.15)
    local, ratios, _ = bench(arguments, "local(1024, 0)", peers="sdpa,flex")
    report("forward, local(1024, 0): compiled FlexAttention", local, ratios["flex"], 1.5)
    report("forward, local(1024, 0): torch SDPA with a bool mask", local, ratios["sdpa"], 5)
    both, ratios, _ = bench(arguments, "causal()", "--backward", peers="sdpa,jax")
    report("forward and backward, causal: torch SDPA is_causal", both, ratios["sdpa"], 1.3)
    report("forward and backward, causal: jax.nn.dot_product_attention", both, ratios["jax"], "-")
    bf16, ratios, _ = bench(arguments, "causal()", "--dtype", "bfloat16", peers="sdpa")
    report("forward, causal, bfloat16: torch SDPA in bfloat16", bf16, ratios["sdpa"], "-")
    report("forward, causal, bfloat16: our float32", bf16, f32 / bf16, "1.6 with AVX-512-BF16, else 0.95")
    both_bf16, _, _ = bench(arguments, "causal()", "--backward", "--dtype", "bfloat16")
    report("forward and backward, causal, bfloat16: our float32", both_bf16, both / both_bf16,
           "1.6 with AVX-512-BF16, else 0.95")
    packed, ratios, pairs = bench(arguments, documents(), "--q-len", "32768", "--heads", "1", "--repeat", "3",
                                  peers="sdpa")
    fewer = 32768**2 / pairs
    report(f"packed documents, S=32768, one head ({fewer:.1f} times fewer pairs): torch SDPA with a bool mask",
           packed, ratios["sdpa"], f"{0.75 * fewer:.1f}")
    if arguments.threads > 1:
        one, _, _ = bench(arguments, "causal()", "--threads", "1")
        report("forward, causal: one thread", f32, one / f32, f"1.9 for 2; {arguments.threads} here")


if __name__ == "__main__":
    main()
