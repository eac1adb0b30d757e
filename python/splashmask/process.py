# SPDX-License-Identifier: Apache-2.0
"""JAX's process_mask and process_mask_dkv, and a cache of what they returned."""

from __future__ import annotations

import collections
import operator
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .errors import ArgumentTypeError, invalid
from .mask_function import MaskFunction
from .masks import as_int
from .multi_head_mask import MultiHeadMask

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


class MaskInfo(NamedTuple):
    """The tables of one pass, under JAX's names, shapes and dtypes. Absent fields are None.

    Attributes:
      data_next: integer[heads_or_shards, q_blocks, kv_blocks], the next block to fetch.
      mask_next: integer, the same shape, the next entry of `partial_mask_blocks` to fetch.
      block_mask: integer, the same shape: 0 empty, 1 partial, 2 full.
      partial_mask_blocks: bool[blocks, block_q, block_kv] (dkv: [blocks, block_kv, block_q]).
      q_sequence: integer[q_len], the position of each row when the kernel computes the mask.
      is_dynamic_mask: True for `process_dynamic_mask`, whose partial blocks have the shape
        [heads, q_blocks, kv_blocks, block_q, block_kv].
    """

    data_next: np.ndarray | None
    mask_next: np.ndarray | None
    block_mask: np.ndarray | None
    partial_mask_blocks: np.ndarray | None
    q_sequence: np.ndarray | None
    is_dynamic_mask: bool | None = None


Result = tuple[MaskInfo, Callable | None]


class _Cache:
    """The newest results, up to a number of bytes; their arrays become read-only."""

    def __init__(self, limit_bytes: int):
        self._limit = limit_bytes
        self._bytes = 0
        self._results: collections.OrderedDict[Any, tuple[Result, int]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Result | None:
        with self._lock:
            if key not in self._results:
                return None
            self._results.move_to_end(key)
            return self._results[key][0]

    def put(self, key: Any, result: Result) -> None:
        size = 0
        for field in result[0]:
            if isinstance(field, np.ndarray):
                field.flags.writeable = False
                size += field.nbytes
        if size > self._limit:
            return
        with self._lock:
            if key in self._results:
                return
            self._results[key] = result, size
            self._bytes += size
            while self._bytes > self._limit:
                self._bytes -= self._results.popitem(last=False)[1][1]

    def clear(self) -> None:
        with self._lock:
            self._results.clear()
            self._bytes = 0


_cache = _Cache(256 << 20)


def clear_cache() -> None:
    """Forgets every cached result of process_mask and process_mask_dkv."""
    _cache.clear()


def check_pair(name: str, pair: Any) -> tuple[int, int]:
    try:
        first, second = (operator.index(value) for value in pair)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"[compile] expected {name} to be two integers, got {pair!r}") from None
    return check_count(name, first), check_count(name, second)


def check_count(name: str, value: Any, *, bits: int = 64) -> int:
    return as_int(name, value, operation="compile", bits=bits)


def as_multi_head_mask(mask: Any) -> MultiHeadMask:
    """`mask`, or ours for JAX's MultiHeadMask."""
    if isinstance(mask, MultiHeadMask):
        return mask
    if len(getattr(mask, "shape", ())) == 3 and hasattr(mask, "masks"):
        return MultiHeadMask(mask.masks)
    raise invalid("[compile] expected a MultiHeadMask of shape (num_heads, q_len, kv_len), got "
                  f"{mask!r}: MultiHeadMask([mask] * num_heads) makes one")


def as_function(expr: _core.Expr | None) -> Callable | None:
    """What computes an expression: the user's own function where it is one."""
    if expr is None:
        return None
    kind, parts = expr.describe()
    return parts["function"] if kind == "custom" else MaskFunction(expr)


def _process(mask: Any, block_shape: Any, is_dkv: bool, downcast_smem_data: bool, head_shards: int,
             q_seq_shards: int, shrink_grid: bool, simplify: bool) -> Result:
    mask = as_multi_head_mask(mask)
    heads = [head._expr for head in mask.masks]
    block_shape = check_pair("block_shape", block_shape)
    options = (bool(downcast_smem_data), check_count("head_shards", head_shards),
               check_count("q_seq_shards", q_seq_shards), bool(shrink_grid), bool(simplify))
    key = None  # What may change meanwhile is compiled anew each time.
    if not any(head.may_change for head in heads):
        key = (tuple(heads), block_shape, is_dkv, options)
        if (cached := _cache.get(key)) is not None:
            return cached
    fields, function = _core.process_mask(
        heads, block_shape, is_dkv=is_dkv, downcast_smem_data=options[0], head_shards=options[1],
        q_seq_shards=options[2], shrink_grid=options[3], simplify=options[4])
    result = MaskInfo(*fields), as_function(function)
    if key is not None:
        _cache.put(key, result)
    return result


def process_mask(mask: MultiHeadMask, block_shape: tuple[int, int], *, is_dkv: bool = False,
                 downcast_smem_data: bool = True, head_shards: int = 1, q_seq_shards: int = 1,
                 shrink_grid: bool = True, simplify: bool = False) -> Result:
    """The tables of the fwd and dq passes, equal to JAX's `process_mask` in every field.

    Args:
      mask: [num_heads, q_len, kv_len], ours or JAX's.
      block_shape: (block_q, block_kv); each divides its axis, and block_q divides the q positions of
        a shard.
      is_dkv: the dkv pass instead, as JAX's function has it.
      downcast_smem_data: the smallest of int8, int16, int32 for each table, instead of int32.
      head_shards, q_seq_shards: over how many devices heads and q positions are sharded.
      shrink_grid: leave empty blocks out, when all heads have one mask.
      simplify: the tables of `simplify(mask)`; the kernel computes every composition of positional
        masks, where JAX has partial blocks. JAX's own process_mask has no such argument.

    Returns:
      The tables, and the mask as a function of positions when the kernel can compute it, else None.
      Tables of masks without arrays are kept, so that asking again costs microseconds: they are
      read-only.

    Raises:
      Error: a ValueError whose `code` names the kind; the message names values that would do.
    """
    return _process(mask, block_shape, bool(is_dkv), downcast_smem_data, head_shards, q_seq_shards,
                    shrink_grid, simplify)


def process_mask_dkv(mask: MultiHeadMask, block_shape: tuple[int, int], *, is_dkv: bool = True,
                     downcast_smem_data: bool = True, head_shards: int = 1, q_seq_shards: int = 1,
                     shrink_grid: bool = True, simplify: bool = False) -> Result:
    """The tables of the dkv pass, equal to JAX's `process_mask_dkv` in every field; otherwise as
    `process_mask`. The fused backward kernel needs shrink_grid=False."""
    return _process(mask, block_shape, bool(is_dkv), downcast_smem_data, head_shards, q_seq_shards,
                    shrink_grid, simplify)


def process_dynamic_mask(mask: np.ndarray, block_shape: tuple[int, int], *, is_dkv: bool = False,
                         downcast_smem_data: bool = True, head_shards: int = 1,
                         q_seq_shards: int = 1, shrink_grid: bool = True) -> tuple[MaskInfo, None]:
    """The tables of JAX's `process_dynamic_mask` for a bool[heads, q_len, kv_len] array; shrink_grid
    has no effect, as in JAX.

    Raises:
      Error: a ValueError whose `code` names the kind, for example "InvalidArray".
    """
    return _process_dynamic(mask, block_shape, bool(is_dkv), downcast_smem_data, head_shards, q_seq_shards)


def process_dynamic_mask_dkv(mask: np.ndarray, block_shape: tuple[int, int], *, is_dkv: bool = True,
                             downcast_smem_data: bool = True, head_shards: int = 1,
                             q_seq_shards: int = 1,
                             shrink_grid: bool = True) -> tuple[MaskInfo, None]:
    """The same for the dkv pass: partial blocks are [heads, q_blocks, kv_blocks, block_kv, block_q].
    """
    return _process_dynamic(mask, block_shape, bool(is_dkv), downcast_smem_data, head_shards, q_seq_shards)


def _process_dynamic(mask: Any, block_shape: Any, is_dkv: bool, downcast_smem_data: bool,
                     head_shards: int, q_seq_shards: int) -> tuple[MaskInfo, None]:
    fields = _core.process_dynamic_mask(
        np.ascontiguousarray(mask), check_pair("block_shape", block_shape), is_dkv=is_dkv,
        downcast_smem_data=bool(downcast_smem_data),
        head_shards=check_count("head_shards", head_shards),
        q_seq_shards=check_count("q_seq_shards", q_seq_shards))
    return MaskInfo(*fields), None
