# SPDX-License-Identifier: Apache-2.0
"""Shards of the q axis that have as much to do as each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ArgumentTypeError, invalid
from .masks import Mask, as_int, as_mask, wrap
from .multi_head_mask import MultiHeadMask
from .process import as_multi_head_mask

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class ShardBalance:
    """Which q positions each of `shards` shards gets, as many to each, and what it has to do then.
    Shard i has rows i * q_len // shards to (i + 1) * q_len // shards of the reordered sequence.

    Attributes:
      method: "contiguous", "zigzag", "striped" or "lpt".
      unit: what `work` counts: "blocks" or "pairs".
      shards: how many there are.
      block_q, block_kv: the block shape.
      weights: of each mask.
      permutation: int32[q_len]; row r has original position permutation[r], so that q[permutation] is
        the reordered q.
      inverse: int32[q_len]; original position p is in row inverse[p], so that out[inverse] has the
        original order.
      pairs: int64[masks, shards], pairs that each mask lets through, of all heads, unweighted.
      blocks: int64[masks, shards], the blocks that the kernel visits, likewise.
      work: int64[shards], the sum of weights times `blocks` (or `pairs`).
      imbalance: the most of `work` / its mean; 1.0 is even.
      imbalance_before: the same for the original order, cut into `shards` pieces.
      kv_ranges: of each mask and shard int64[ranges, 2], the half-open ranges of kv positions that any
        row of the shard sees in any head; sorted, not touching.
    """

    method: str
    unit: str
    shards: int
    block_q: int
    block_kv: int
    weights: tuple[int, ...]
    permutation: np.ndarray
    inverse: np.ndarray
    pairs: np.ndarray
    blocks: np.ndarray
    work: np.ndarray
    imbalance: float
    imbalance_before: float
    kv_ranges: tuple[tuple[np.ndarray, ...], ...]

    def reorder(self, mask: Mask | MultiHeadMask, *, kv: bool = False) -> Mask | MultiHeadMask:
        """`mask` with its q positions in this order: what the shards compute. kv positions stay, as
        they do where k and v are gathered in their original order; with `kv` they are reordered, too
        (then `kv_ranges` are still original positions, and blocks are those counted here only if
        block_kv divides block_q and whole q blocks were moved).

        Args:
          mask: of that q_len (and with `kv` kv_len); ours or JAX's, of one head or several.
        """
        if len(getattr(mask, "shape", ())) != 3:
            return self._reordered(as_mask(mask), kv)
        heads = as_multi_head_mask(mask).masks
        distinct = {id(head): head for head in heads}
        reordered = {key: self._reordered(head, kv) for key, head in distinct.items()}
        return MultiHeadMask([reordered[id(head)] for head in heads])

    def _reordered(self, mask: Mask, kv: bool) -> Mask:
        named = self.method in ("zigzag", "striped")  # The text form says so.
        order = (self.method, self.shards) if named else self.permutation
        return wrap(mask._expr.reorder(order, order if kv else None))

    def __repr__(self) -> str:
        return (f"<ShardBalance of {len(self.permutation)} q positions over {self.shards} shards: "
                f"{self.method}, {self.unit} {self.imbalance_before:.3f} -> {self.imbalance:.3f}>")


def _heads(mask: Any) -> tuple[Mask, ...]:
    if len(getattr(mask, "shape", ())) == 3:
        return as_multi_head_mask(mask).masks
    return (as_mask(mask),)


def _weights(weights: Any, masks: int) -> tuple[int, ...]:
    if weights is None:
        return (1,) * masks
    if isinstance(weights, str) or not isinstance(weights, Iterable):
        raise ArgumentTypeError(f"[balance] expected weights to be integers, got {weights!r}")
    weights = tuple(as_int("a weight", weight, operation="balance") for weight in weights)
    if len(weights) != masks:
        raise invalid(f"[balance] expected a weight for each of {masks} masks, got {len(weights)}")
    return weights


def balance(masks: Any, *, shards: int, weights: Iterable[int] | None = None, method: str = "lpt",
            unit: str = "blocks", block_q: int = 512, block_kv: int = 512,
            threads: int = 0) -> ShardBalance:
    """Deals q positions to shards, as many to each, so that none has much more to do than the others.

        balance = sm.balance([local, causal], weights=[5, 1], shards=8)
        plans = [sm.compile(balance.reorder(mask), q_seq_shards=8) for mask in (local, causal)]
        q = q[..., balance.permutation, :]          # Before attention, and positions as well.
        out = out[..., balance.inverse, :]          # After it.

    Work is counted exactly, without visiting cells.

    Args:
      masks: a mask, [q_len, kv_len] or [heads, q_len, kv_len], or several of one q_len and kv_len:
        those of a model's layers, which the same shards compute one after another. Ours or JAX's.
      shards: how many; times block_q it divides q_len.
      weights: how many layers have each mask; None is 1 each.
      method: "contiguous" leaves positions where they are; "zigzag" gives shard i pieces i and
        2 * shards - 1 - i of 2 * shards; "striped" gives it the positions congruent to i modulo
        shards; "lpt" deals whole q blocks, the heaviest first to the shard with least to do, and then
        exchanges blocks while that helps.
      unit: what "lpt" balances, and `work` counts: "blocks" that the kernel visits, each of which it
        computes whole, or visible "pairs".
      block_q, block_kv: the block shape that the kernel will have.
      threads: 0 is as many as the machine has.

    Raises:
      Error: no masks, masks of different shapes, weights below 1, blocks and shards that do not divide
        the lengths (zigzag: twice the shards), an unknown method or unit.
    """
    has_shape = hasattr(masks, "shape")
    listed = [masks] if has_shape or not isinstance(masks, Iterable) else list(masks)
    heads = [_heads(mask) for mask in listed]
    sizes = {name: as_int(name, size, operation="balance")
             for name, size in (("shards", shards), ("block_q", block_q), ("block_kv", block_kv))}
    weights = _weights(weights, len(listed))
    fields = _core.balance([[head._expr for head in of_mask] for of_mask in heads], weights,
                           method=str(method), unit=str(unit), **sizes,
                           threads=as_int("threads", threads, operation="balance", bits=32))
    fields["kv_ranges"] = tuple(tuple(of_mask) for of_mask in fields["kv_ranges"])
    return ShardBalance(method=str(method), unit=str(unit), weights=weights, **sizes, **fields)
