# SPDX-License-Identifier: Apache-2.0
"""A small transformer learns the bytes of this project's own documents, packed into sequences, twice from
the same start: with splash attention and with dense attention. The two loss curves are one.

The model is plain JAX. The same code runs on a TPU, where the kernel is JAX's; on the CPU it is ours.

    pip install .[jax]
    python examples/train_transformer.py --steps 100
"""

from __future__ import annotations

import argparse
import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

import splashmask as sm
import splashmask.jax as smj

LAYERS, FEATURES, HEADS, KV_HEADS, HEAD_DIM = 3, 192, 6, 2, 64
BLOCK = 128
PAD = 0  # The id of padding; documents are numbered from 1.


def documents(folder: pathlib.Path) -> list[np.ndarray]:
    """The sections of all Markdown files, as bytes."""
    sections = []
    for path in sorted(folder.rglob("*.md")):
        if "build" not in path.parts:
            sections += ["#" + part for part in path.read_text().split("\n#")]
    return [np.frombuffer(text.encode(), np.uint8) for text in sections if len(text) > 64]


def pack(texts: list[np.ndarray], batch: int, length: int, seed: int):
    """(tokens, segment ids), int32[batch, length] each: random documents one after the other."""
    rng = np.random.default_rng(seed)
    tokens, ids = np.zeros((batch, length), np.int32), np.full((batch, length), PAD, np.int32)
    for row in range(batch):
        end = number = 0
        while end < length:
            text = texts[rng.integers(len(texts))][: length - end]
            number += 1
            tokens[row, end : end + len(text)] = text
            ids[row, end : end + len(text)] = number
            end += len(text)
    return tokens, ids


# ---- Attention, both ways. q: [heads, length, head_dim], scaled; k and v: [kv_heads, ...].

SIZES = smj.BlockSizes(**{name: BLOCK for name in (
    "block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")})


def splash(q, k, v, ids, tables):
    kernel = smj.make_packed_splash_mha(tables, "causal()", block_sizes=SIZES)
    return kernel(q, k, v, smj.SegmentIds(ids, ids))


def dense(q, k, v, ids, _):
    length = ids.shape[0]
    seen = jnp.tril(jnp.ones((length, length), bool)) & (ids[:, None] == ids)
    k, v = (jnp.repeat(x, HEADS // KV_HEADS, 0) for x in (k, v))
    logits = jnp.where(seen, jnp.einsum("hqd,hkd->hqk", q, k), -1e30)
    return jnp.einsum("hqk,hkd->hqd", jax.nn.softmax(logits), v)


# ---- The model.


def initial_parameters(key):
    keys = iter(jax.random.split(key, 2 + 6 * LAYERS))

    def matrix(*shape):
        return jax.random.normal(next(keys), shape) * shape[0] ** -0.5

    def layer():
        return {"q": matrix(FEATURES, HEADS, HEAD_DIM), "k": matrix(FEATURES, KV_HEADS, HEAD_DIM),
                "v": matrix(FEATURES, KV_HEADS, HEAD_DIM),
                "out": matrix(HEADS * HEAD_DIM, FEATURES), "up": matrix(FEATURES, 4 * FEATURES),
                "down": matrix(4 * FEATURES, FEATURES)}

    return {"embedding": matrix(256, FEATURES), "unembedding": matrix(FEATURES, 256),
            "layers": [layer() for _ in range(LAYERS)]}


def norm(x):
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)


def rotary(x, positions):
    """[..., length, heads, head_dim], turned by position."""
    frequencies = 10000.0 ** -jnp.linspace(0, 1, HEAD_DIM // 2, endpoint=False)
    angles = positions[:, None, None] * frequencies
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * jnp.cos(angles) - b * jnp.sin(angles),
                            a * jnp.sin(angles) + b * jnp.cos(angles)], -1)


def loss(parameters, tokens, ids, tables, attend):
    x = parameters["embedding"][tokens]  # [batch, length, features]
    positions = jnp.arange(tokens.shape[1], dtype=jnp.float32)
    for layer in parameters["layers"]:
        q, k, v = (jnp.einsum("blf,fhd->blhd", norm(x), layer[name]) for name in "qkv")
        q, k = rotary(q, positions) * HEAD_DIM**-0.5, rotary(k, positions)
        out = jax.vmap(attend)(*(y.swapaxes(1, 2) for y in (q, k, v)), ids, tables)
        x += out.swapaxes(1, 2).reshape(*x.shape[:2], -1) @ layer["out"]
        x += jax.nn.gelu(norm(x) @ layer["up"]) @ layer["down"]
    logits = norm(x) @ parameters["unembedding"]
    # The next byte of the same document.
    weight = (ids[:, 1:] == ids[:, :-1]) & (ids[:, 1:] != PAD)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits[:, :-1]), tokens[:, 1:, None], -1)[..., 0]
    return jnp.where(weight, losses, 0).sum() / weight.sum()


def adam(gradient, state, number, rate=2e-3):
    mean, square = (jax.tree.map(lambda m, g, p=power: b * m + (1 - b) * g**p, old, gradient)
                    for (b, power), old in zip(((0.9, 1), (0.99, 2)), state))
    step = jax.tree.map(lambda m, s: -rate * (m / (1 - 0.9**number)) /
                        (jnp.sqrt(s / (1 - 0.99**number)) + 1e-8), mean, square)
    return step, (mean, square)


@functools.partial(jax.jit, static_argnames="attend")
def train_step(parameters, state, number, tokens, ids, tables, *, attend):
    value, gradient = jax.value_and_grad(loss)(parameters, tokens, ids, tables, attend)
    step, state = adam(gradient, state, number)
    return value, jax.tree.map(jnp.add, parameters, step), state


class Run:
    """One training run; its seconds leave compilation out."""

    def __init__(self, attend):
        self.attend = attend
        self.parameters = initial_parameters(jax.random.key(0))
        zeros = jax.tree.map(jnp.zeros_like, self.parameters)
        self.state, self.number, self.seconds = (zeros, zeros), 0, 0.0

    def step(self, *batch):
        self.number += 1
        begin = time.perf_counter()
        value, self.parameters, self.state = train_step(
            self.parameters, self.state, self.number, *batch, attend=self.attend)
        value = float(value)
        self.seconds += (time.perf_counter() - begin) * (self.number > 1)
        return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=1024)
    arguments = parser.parse_args()
    texts = documents(pathlib.Path(__file__).resolve().parents[1])
    print(f"{len(texts)} documents, {sum(map(len, texts)):,} bytes")
    runs = [Run(splash), Run(dense)]
    print("step   splash    dense")
    for number in range(arguments.steps):
        tokens, ids = pack(texts, arguments.batch, arguments.length, seed=number)
        tables = sm.compile_packed(ids, "causal()", block_q=BLOCK, block_kv=BLOCK, pad=PAD)
        values = [run.step(tokens, ids, tables) for run in runs]
        print(f"{number:4}  {values[0]:7.4f}  {values[1]:7.4f}", flush=True)
    if arguments.steps > 1:
        seconds = [run.seconds / (arguments.steps - 1) for run in runs]
        print(f"a step takes {seconds[0] * 1e3:.0f} ms with splash attention, {seconds[1] * 1e3:.0f} ms "
              "with dense attention")


if __name__ == "__main__":
    main()
