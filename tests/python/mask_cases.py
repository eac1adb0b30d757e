# SPDX-License-Identifier: Apache-2.0
"""Random cases: a mask as text and arrays, the same mask as JAX's objects, and options.

A `Source` makes every choice, so that hypothesis (which shrinks) and the golden generator (which
repeats) draw from one generator.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import mask_text
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks


class Source(Protocol):
    """Where choices come from."""

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""

    def choice(self, options: list) -> Any:
        """One of the options."""


class GeneratorSource:
    """Choices from a seeded NumPy generator."""

    def __init__(self, seed):
        self._rng = np.random.default_rng(seed)

    def integer(self, low, high):
        return int(self._rng.integers(low, high, endpoint=True))

    def choice(self, options):
        return options[self.integer(0, len(options) - 1)]


# Python's precedences, loosest first.
_OR, _XOR, _AND, _SUB, _UNARY, _CALL = range(6)


@dataclasses.dataclass(frozen=True)
class Expr:
    """One mask: its text and a maker of fresh JAX objects (JAX's users assign to theirs).

    `hazards` names what JAX's arithmetic meets while evaluating it: "overflow" where NumPy refuses
    an operand that the positions' dtype cannot hold, "wrap" where a result leaves that dtype.
    """

    text: str
    make: Callable[[], jax_masks.Mask]
    level: int = _CALL
    hazards: frozenset[str] = frozenset()
    function_text: str | None = None  # What the kernel computes, when it can.
    features: frozenset[str] = frozenset()

    def above(self, level):
        return self.text if self.level >= level else f"({self.text})"


@dataclasses.dataclass(frozen=True)
class Case:
    """What both sides are asked."""

    shape: tuple[int, int]
    heads: tuple[Expr, ...]
    text: str
    arrays: dict[str, np.ndarray]
    block: tuple[int, int]
    head_shards: int = 1
    q_seq_shards: int = 1
    downcast_smem_data: bool = True
    shrink_grid: bool = True

    def options(self):
        return dict(
            head_shards=self.head_shards,
            q_seq_shards=self.q_seq_shards,
            downcast_smem_data=self.downcast_smem_data,
            shrink_grid=self.shrink_grid,
        )

    def jax_mask(self):
        return jax_masks.MultiHeadMask([head.make() for head in self.heads])

    def values(self):
        """bool[q_len, kv_len] of each distinct mask, from its text."""
        texts = dict.fromkeys(head.text for head in self.heads)
        return {text: mask_text.materialise(text, self.shape, self.arrays) for text in texts}

    def __repr__(self):
        arrays = {
            name: np.array2string(array, threshold=4096, separator=",", max_line_width=100)
            + f".{array.dtype}"
            for name, array in self.arrays.items()
        }
        return (
            f"mask {self.text!r}, shape {self.shape}, {len(self.heads)} heads, block {self.block},"
            f" {self.options()}, arrays {arrays}"
        )


class ExternalMask(jax_masks.Mask):
    """A mask that JAX has no class for, as a JAX user would write it: equal by its text and cells."""

    def __init__(self, text, array):
        self.text = text
        self.array = array

    @property
    def shape(self):
        return self.array.shape

    def __getitem__(self, index):
        return self.array[index]

    def __eq__(self, other):
        return (isinstance(other, ExternalMask) and self.text == other.text and
                np.array_equal(self.array, other.array))

    def __hash__(self):
        return hash(self.text)


def _operation_hazards(dtype, low, high, operands):
    """Adds `operands` one after the other to integers of `dtype` in [low, high]."""
    info = np.iinfo(dtype)
    hazards = set()
    for sign, operand in operands:
        if not info.min <= operand <= info.max:
            hazards.add("overflow")
        low, high = low + sign * operand, high + sign * operand
        if low < info.min or high > info.max:
            hazards.add("wrap")
    return hazards


class MaskBuilder:
    """Makes the masks of one shape and holds the arrays that they name."""

    def __init__(self, shape, block=(1, 1)):
        self.shape = shape
        self.block = block
        self.arrays: dict[str, np.ndarray] = {}

    def add_array(self, prefix, array):
        name = f"{prefix}{len(self.arrays)}.npy"
        self.arrays[name] = array
        return name

    def _computable(self, make, text, operands, positions, position_text=None):
        """A mask that JAX computes in its kernel, over its own or over reassigned positions.

        `operands(dtype)` lists the chains of additions that JAX does to the positions.
        """

        def make_jax():
            mask = make()
            if positions is not None:
                mask.q_sequence = positions
            return mask

        q = np.arange(self.shape[0], dtype=np.int32) if positions is None else positions
        hazards = set()
        for chain in operands:
            hazards |= _operation_hazards(q.dtype, int(q.min()), int(q.max()), chain)
        features = {text.split("(")[0]}
        if positions is not None:
            features |= {"reassigned q_sequence", f"q_sequence {positions.dtype}"}
            if (positions < 0).any() or (positions >= self.shape[0]).any():
                features.add("q_sequence out of range")
        return Expr(
            text if positions is None else f"reorder({text}, q={position_text})",
            make_jax,
            hazards=frozenset(hazards),
            function_text=text,
            features=frozenset(features),
        )

    def causal(self, offset=0, positions=None, position_text=None, shard_count=1):
        text = f"causal({offset})" if offset else "causal()"
        chain = [(1, offset)] if offset else []
        return self._computable(
            lambda: jax_masks.CausalMask(self.shape, offset, shard_count),
            text,
            [chain],
            positions,
            position_text,
        )

    def local(self, left, right, offset=0, positions=None, position_text=None):
        sides = ", ".join("none" if side is None else str(side) for side in (left, right))
        text = f"local({sides}, {offset})" if offset else f"local({sides})"
        start = [(1, offset)] if offset else []
        chains = [start + [(-1, left)]] if left is not None else []
        chains += [start + [(1, right)]] if right is not None else []
        return self._computable(
            lambda: jax_masks.LocalMask(self.shape, (left, right), offset),
            text,
            chains,
            positions,
            position_text,
        )

    def chunked_causal(self, chunk, positions=None, position_text=None):
        dtype = np.dtype(np.int32) if positions is None else positions.dtype
        expr = self._computable(
            lambda: jax_masks.ChunkedCausalMask(self.shape, chunk),
            f"chunked_causal({chunk})",
            [],
            positions,
            position_text,
        )
        too_large = chunk > np.iinfo(dtype).max
        return dataclasses.replace(expr, hazards=frozenset({"overflow"} if too_large else ()))

    def full(self):
        return Expr(
            "full()", lambda: jax_masks.FullMask(self.shape), features=frozenset({"full"})
        )

    def dense(self, array, name=None):
        name = name or self.add_array("d", array)
        return Expr(
            f'dense("{name}")', lambda: jax_masks.NumpyMask(array), features=frozenset({"dense"})
        )

    def external(self, text, level=_CALL):
        array = mask_text.materialise(text, self.shape, self.arrays)
        kind = text.split("(")[0] if level == _CALL else "operator"
        return Expr(
            text, lambda: ExternalMask(text, array), level, features=frozenset({f"our {kind}"})
        )

    def combine(self, symbol, a, b):
        """`a & b` or `a | b` with as few parentheses as Python needs."""
        level = {"|": _OR, "&": _AND}[symbol]

        def make():
            return a.make() & b.make() if symbol == "&" else a.make() | b.make()

        return Expr(
            f"{a.above(level)} {symbol} {b.above(level + 1)}",
            make,
            level,
            a.hazards | b.hazards,
            features=a.features | b.features | {f"operator {symbol}"},
        )


def heads_text(heads, runs):
    """The text of one mask a head; equal neighbours as `mask * n` when `runs`."""
    items = []
    start = 0
    while start < len(heads):
        end = start + 1
        while runs and end < len(heads) and heads[end].text == heads[start].text:
            end += 1
        count = end - start
        item = heads[start]
        items.append(item.text if count == 1 else f"{item.above(_UNARY)} * {count}")
        start = end
    return f"[{', '.join(items)}]"
