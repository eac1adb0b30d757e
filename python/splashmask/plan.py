# SPDX-License-Identifier: Apache-2.0
"""Plans: everything compiled from one multi-head mask."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .errors import ArgumentTypeError, invalid
from .masks import Mask, NumpyMask, wrap
from .multi_head_mask import MultiHeadMask
from .process import MaskInfo, as_function, as_multi_head_mask, check_count, check_pair

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


class Mismatch(NamedTuple):
    """The first thing found wrong with a plan: `expected` and `got` at `index` of a pass's `table`,
    and, where there is one, a position (head, q, kv) of the mask that shows it."""

    pass_name: str
    table: str
    index: list[int]
    head: int | None
    q: int | None
    kv: int | None
    expected: str
    got: str
    text: str

    def __str__(self) -> str:
        return self.text


class CompiledPass:
    """The tables of one pass, read-only NumPy arrays that share the plan's memory.

    Attributes:
      block_shape: (block_q, block_kv).
      data_next, mask_next, block_mask, q_sequence: as in MaskInfo; absent ones are None.
      packed_partial_mask_blocks: uint8[blocks, rows, ceil(columns / 8)], little bit order, or None.
      mask_function: the mask as the kernel computes it, or None.
    """

    def __init__(self, plan: _core.Plan, name: str, tables: tuple):
        self._plan = plan
        self._name = name
        (self.block_shape, self.data_next, self.mask_next, self.block_mask,
         self.packed_partial_mask_blocks, _, self.q_sequence, function) = tables
        self.mask_function: Callable | None = as_function(function)

    @functools.cached_property
    def partial_mask_blocks(self) -> np.ndarray | None:
        """bool[blocks, block_q, block_kv] (dkv: [blocks, block_kv, block_q]), expanded when first
        asked for: eight times the packed ones."""
        return self._plan.partial_mask_blocks(self._name)

    @property
    def mask_info(self) -> MaskInfo:
        """All of it under JAX's names."""
        return MaskInfo(self.data_next, self.mask_next, self.block_mask, self.partial_mask_blocks,
                        self.q_sequence)


class TokamaxPass:
    """The lists of one pass in tokamax's dialect, read-only NumPy arrays that share the plan's memory.

    Attributes:
      block_shape: (block_q, block_kv).
      q_seq_shards, kv_seq_shards, downcast_smem_data, return_dynamic_grid, simplify: what was asked
        for.
      mask_next, active_rows, active_cols, block_mask, num_active_blocks, q_sequence: as in tokamax's
        MaskInfo; absent ones are None.
      packed_partial_mask_blocks: uint8[blocks, rows, ceil(columns / 8)], little bit order, or None.
      mask_function: the mask as the kernel computes it, or None.
    """

    def __init__(self, plan: _core.Plan, name: str, tables: tuple):
        self._plan = plan
        self._name = name
        (self._arguments, self.mask_next, self.active_rows, self.active_cols, self.block_mask,
         self.num_active_blocks, self.packed_partial_mask_blocks, self.q_sequence,
         function) = tables
        (self.block_shape, self.q_seq_shards, self.kv_seq_shards, self.downcast_smem_data,
         self.return_dynamic_grid, self.simplify) = self._arguments
        self.mask_function: Callable | None = as_function(function)

    @functools.cached_property
    def partial_mask_blocks(self) -> np.ndarray | None:
        """bool[blocks, block_q, block_kv] (dkv: [blocks, block_kv, block_q]), expanded when first
        asked for."""
        return self._plan.tokamax_partial_mask_blocks(self._name)


class Plan:
    """A mask, its options, and the tables of each pass. Immutable; safe to use from many threads.

    Attributes:
      mask: the MultiHeadMask.
      fwd, dq, dkv: CompiledPass, or None for a pass that was not compiled.
      tokamax_fwd, tokamax_dkv: TokamaxPass, or None; `splashmask.tokamax.compile` makes them.
      head_shards, q_seq_shards, downcast_smem_data, shrink_grid, use_fused_bwd_kernel, simplify: the
        options of fwd, dq and dkv.
    """

    def __init__(self, core: _core.Plan):
        self._core = core
        self.mask = MultiHeadMask([wrap(head) for head in core.heads()])
        for name in ("fwd", "dq", "dkv"):
            tables = core.pass_tables(name)
            setattr(self, name, None if tables is None else CompiledPass(core, name, tables))
        for name in ("fwd", "dkv"):
            tables = core.tokamax_tables(name)
            setattr(self, f"tokamax_{name}",
                    None if tables is None else TokamaxPass(core, name, tables))
        self.__dict__.update(core.options())

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """mask_digest, plan_digest (mask and options: what a cache looks up) and content_digest (the
        tables): SHA-256, lower-case hex."""
        return self._core.digests()

    def save(self, path: str | os.PathLike) -> None:
        """Writes a plan file: beside `path` first, then renamed over it, so that the file there is
        either the old one or the new one, whole. A mask with custom functions is stored as its
        cells, bool[q_len, kv_len] for each head, and its tables are those of a stored mask.

        Raises:
          Error: the file cannot be written.
        """
        core = self._core
        if any(_has_custom(head._expr) for head in self.mask.masks):
            warnings.warn("a custom function cannot be stored: its cells are, and the tables hold "
                          "them as partial blocks", stacklevel=2)
            mask = _materialized(self.mask)
            if tokamax := self._tokamax_arguments():
                core = _core.compile_tokamax([head._expr for head in mask.masks], **tokamax)
            else:
                core = _compile(mask, self._block_shapes(), core.options(), 0)
        core.save(check_path(path))

    def verify(self, *, threads: int = 0) -> Mismatch | None:
        """Evaluates every cell of the mask anew and compares every entry of every table, by code
        that shares nothing with the compiler. None when all are right; the pass_name of lists in
        tokamax's dialect is "tokamax/fwd" or "tokamax/dkv"."""
        mismatch = self._core.verify(threads)
        return None if mismatch is None else Mismatch(*mismatch)

    def savings(self, *, threads: int = 0) -> dict[str, Any]:
        """What `simplify=True` saved: {"before": cost, "after": cost}, where a cost is {"masks": distinct
        ones, "nodes": of their expressions, "passes": {"fwd": {"computed": whether the kernel computes
        the mask, "partial_blocks": distinct ones, "partial_bytes": of these, packed}, ...}}. Compiles the
        masks as they were written; "before" is None where their tables would not fit in memory.

        Raises:
          Error: the plan was not compiled with `simplify=True`.
        """
        return self._core.savings(check_count("threads", threads, bits=32))

    def show(self, pass_name: str | None = None, head: int = 0, *, width: int = 80) -> str:
        """A picture of one head's grid of blocks, `width` characters wide at most. `pass_name` is "fwd",
        "dq", "dkv", "tokamax/fwd" or "tokamax/dkv"; None is the first that the plan has."""
        return self._core.show(pass_name, check_count("head", head),
                               check_count("width", width, bits=32))

    def _block_shapes(self) -> dict[str, tuple[int, int]]:
        passes = {name: getattr(self, name) for name in ("fwd", "dq", "dkv")}
        return {name: one.block_shape for name, one in passes.items() if one is not None}

    def _tokamax_arguments(self) -> dict[str, tuple]:
        passes = {"fwd": self.tokamax_fwd, "dkv": self.tokamax_dkv}
        return {name: one._arguments for name, one in passes.items() if one is not None}

    def __repr__(self) -> str:
        blocks = self._block_shapes()
        for name, arguments in self._tokamax_arguments().items():
            blocks[f"tokamax/{name}"] = arguments[0]
        passes = ", ".join(f"{name} {q} x {kv}" for name, (q, kv) in blocks.items())
        return f"<Plan {self.mask.shape}: {self.mask}; {passes}>"


def _has_custom(expr: _core.Expr) -> bool:
    kind, parts = expr.describe()
    return kind == "custom" or any(
        _has_custom(part) for part in parts.values() if isinstance(part, _core.Expr))


def _materialized(mask: MultiHeadMask) -> MultiHeadMask:
    stored: dict[Mask, Mask] = {}
    for head in mask.masks:
        if head not in stored:
            stored[head] = NumpyMask(head[:, :]) if _has_custom(head._expr) else head
    return MultiHeadMask([stored[head] for head in mask.masks])


def _compile(mask: MultiHeadMask, blocks: dict[str, tuple[int, int]], options: dict[str, Any],
             threads: int) -> _core.Plan:
    return _core.compile([head._expr for head in mask.masks], **blocks, **options, threads=threads)


def check_plan(operation: str, plan: Any) -> None:
    """Throws unless it is a Plan."""
    if not isinstance(plan, Plan):
        raise ArgumentTypeError(f"[{operation}] expected a Plan, which compile(mask) makes and load(path) "
                                f"reads, got {type(plan).__name__}")


def check_passes(passes: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    names = () if isinstance(passes, str) or not isinstance(passes, Iterable) else tuple(passes)
    if not names or any(name not in known for name in names):
        raise invalid(f"[compile] expected passes out of {known}, got {passes!r}")
    return names


def check_path(path: Any) -> str:
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise ArgumentTypeError(f"[plan] expected a path, got {path!r}") from None
    if "\0" in text:
        raise invalid(f"[plan] expected a path without a zero byte, got {text!r}")
    return text


def compile(mask: MultiHeadMask | Mask, *, block_q: int = 512, block_kv: int = 512,
            block_q_dq: int | None = None, block_kv_dq: int | None = None,
            block_q_dkv: int | None = None, block_kv_dkv: int | None = None,
            passes: tuple[str, ...] = ("fwd", "dq", "dkv"), head_shards: int = 1,
            q_seq_shards: int = 1, downcast_smem_data: bool = True, shrink_grid: bool = True,
            use_fused_bwd_kernel: bool = False, simplify: bool = False, threads: int = 0) -> Plan:
    """Compiles the passes of a mask; what is said of `process_mask` holds for each.

    Args:
      mask: one mask a head, or one mask for one head.
      block_q, block_kv: of the fwd pass, and of the others where they name none of their own.
      passes: some of "fwd", "dq", "dkv". The fused backward kernel has no dq pass, and its dkv
        tables are not shrunk.
      threads: 0 is as many as the machine has.
    """
    mask = MultiHeadMask([mask]) if isinstance(mask, Mask) else as_multi_head_mask(mask)
    sizes = {"fwd": (block_q, block_kv), "dq": (block_q_dq, block_kv_dq),
             "dkv": (block_q_dkv, block_kv_dkv)}
    passes = check_passes(passes, tuple(sizes))
    if use_fused_bwd_kernel:
        if sizes["dq"] != (None, None):
            raise invalid("[compile] expected no dq sizes with use_fused_bwd_kernel, which has no dq "
                          "pass")
        passes = tuple(name for name in passes if name != "dq")
        if not passes:
            raise invalid("[compile] expected passes beside dq with use_fused_bwd_kernel, which has no "
                          "dq pass")
    blocks = {
        name: check_pair(f"the block shape of {name}", (block_q if q is None else q,
                                                        block_kv if kv is None else kv))
        for name, (q, kv) in sizes.items() if name in passes
    }
    options = dict(downcast_smem_data=bool(downcast_smem_data),
                   head_shards=check_count("head_shards", head_shards),
                   q_seq_shards=check_count("q_seq_shards", q_seq_shards),
                   shrink_grid=bool(shrink_grid), use_fused_bwd_kernel=bool(use_fused_bwd_kernel),
                   simplify=bool(simplify))
    return Plan(_compile(mask, blocks, options, check_count("threads", threads, bits=32)))


def load(path: str | os.PathLike) -> Plan:
    """Reads a plan file; checks its seal and its digests.

    Raises:
      Error: no such file, not a plan, of a newer format, or damaged.
    """
    return Plan(_core.Plan.load(check_path(path)))
