# SPDX-License-Identifier: Apache-2.0
"""Packed documents from a data loader with worker processes to a jitted training step.

Each worker packs documents into sequences and compiles the tables of its batch: arrays of a fixed
shape, so that the step is traced and compiled once. The kernel is JAX's own splash attention, with the
segment ids as run-time arguments; on the CPU ours stands in for it.

    pip install .[jax]
    python examples/train_packed.py
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
from typing import NamedTuple

import numpy as np

import splashmask as sm

MASK = "causal()"
PAD = 0  # The id of padding; documents are numbered from 1.


class Batch(NamedTuple):
    """What a step needs; every field has the same shape and dtype in every batch."""

    tokens: np.ndarray  # int32[batch, length]
    segment_ids: np.ndarray  # int32[batch, length]
    tables: sm.PackedTables


def pack(documents: list[np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and segment ids of one sequence: documents one after the other, the rest padding."""
    tokens, ids = np.zeros(length, np.int32), np.full(length, PAD, np.int32)
    end = 0
    for number, document in enumerate(documents, start=1):
        piece = document[: length - end]
        tokens[end : end + len(piece)] = piece
        ids[end : end + len(piece)] = number
        end += len(piece)
    return tokens, ids


def make_batch(seed: int, *, size: int, length: int, block: int) -> Batch:
    """Runs in a worker process, which needs NumPy and splashmask alone."""
    rng = np.random.default_rng(seed)
    packed = []
    for _ in range(size):
        lengths = np.minimum(rng.lognormal(np.log(length / 12), 1.0, 64).astype(int) + 1, length)
        used = np.searchsorted(np.cumsum(lengths), length)
        packed.append(pack([rng.integers(1, 256, n) for n in lengths[: used + seed % 2]], length))
    tokens, ids = (np.stack(parts) for parts in zip(*packed))
    tables = sm.compile_packed(ids, MASK, block_q=block, block_kv=block, pad=PAD)
    return Batch(tokens, ids, tables)


def make_step(block: int, heads: int, head_dim: int):
    import jax
    import jax.numpy as jnp

    import splashmask.jax as smj

    sizes = smj.BlockSizes(block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block,
                           block_q_dq=block, block_kv_dq=block)

    def attend(tables, ids, q, k, v):
        """One sequence; what it closes over is the same for every batch."""
        kernel = smj.make_packed_splash_mha(tables, MASK, block_sizes=sizes)
        return kernel(q, k, v, smj.SegmentIds(ids, ids))

    def loss(parameters, batch):
        x = parameters["embedding"][batch.tokens]  # [batch, length, features]
        q, k, v = (jnp.einsum("blf,fhd->bhld", x, parameters[name]) for name in "qkv")
        out = jax.vmap(attend)(batch.tables, batch.segment_ids, q / head_dim**0.5, k, v)
        logits = jnp.einsum("bhld,hdt->blt", out, parameters["out"])
        # The next token of the same document; the loss leaves padding out.
        same = batch.segment_ids[:, 1:] == batch.segment_ids[:, :-1]
        weight = same & (batch.segment_ids[:, 1:] != PAD)
        losses = -jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), batch.tokens[:, 1:, None],
                                      axis=-1)[..., 0]
        # where, not a product: what padded rows hold must not reach the sum.
        return jnp.where(weight, losses, 0).sum() / weight.sum()

    @jax.jit
    def step(parameters, batch):
        value, gradients = jax.value_and_grad(loss)(parameters, batch)
        return value, jax.tree.map(lambda p, g: p - 0.3 * g, parameters, gradients)

    keys = iter(jax.random.split(jax.random.key(0), 5))
    features = 32
    normal = lambda *shape: jax.random.normal(next(keys), shape) * 0.2
    parameters = {"embedding": normal(256, features), "out": normal(heads, head_dim, 256),
                  **{name: normal(features, heads, head_dim) for name in "qkv"}}
    return step, parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--block", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2)
    arguments = parser.parse_args()

    loader = functools.partial(make_batch, size=arguments.batch, length=arguments.length,
                               block=arguments.block)
    # "spawn": a process that has started JAX must not be forked.
    with multiprocessing.get_context("spawn").Pool(arguments.workers) as workers:
        batches = workers.imap(loader, range(arguments.steps))
        step, parameters = make_step(arguments.block, heads=2, head_dim=128)
        for number, batch in enumerate(batches):
            value, parameters = step(parameters, batch)
            documents = sum(len(np.unique(row[row != PAD])) for row in batch.segment_ids)
            visited = batch.tables.fwd.block_mask.mean()
            print(f"step {number}: loss {value:.3f}, {documents} documents, "
                  f"{visited:.0%} of the blocks visited")
    print(f"compiled {step._cache_size()} time(s)")


if __name__ == "__main__":
    main()
