# SPDX-License-Identifier: Apache-2.0
"""How many pairs a mask lets through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from .masks import as_mask
from .plan import Plan
from .process import as_multi_head_mask, check_pair

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


def count(mask: Any, *, q: tuple[int, int] | None = None, kv: tuple[int, int] | None = None,
          rows: bool = False, threads: int = 0) -> int | np.ndarray:
    """How many pairs attend, counted exactly and without visiting cells: from classes of rectangles, runs
    of rows and, where a row has many, words of 64 cells.

    Args:
      mask: a Mask or a MultiHeadMask, ours or JAX's, or a Plan, whose mask counts.
      q, kv: half-open ranges of positions to count in; None is all of them.
      rows: count each q position by itself.
      threads: 0 is as many as the machine has.

    Returns:
      int for a mask, int64[num_heads] for a MultiHeadMask; with `rows` int64[q1 - q0] and
      int64[num_heads, q1 - q0].

    Raises:
      Error: a range beyond the mask, more cells than 64 bits count.
    """
    if isinstance(mask, Plan):
        mask = mask.mask
    has_heads = len(getattr(mask, "shape", ())) == 3
    masks = as_multi_head_mask(mask).masks if has_heads else (as_mask(mask),)
    ranges = [(0, length) if given is None else check_pair(name, given, operation="count")
              for name, given, length in zip(("q", "kv"), (q, kv), masks[0].shape)]
    exprs = [one._expr for one in masks]
    if not rows:
        counts = _core.count_pairs(exprs, *ranges, threads)
        return np.array(counts, np.int64) if has_heads else counts[0]
    distinct = {id(expr): expr for expr in exprs}
    counts = {key: _core.count_rows(expr, *ranges, threads) for key, expr in distinct.items()}
    return np.stack([counts[id(expr)] for expr in exprs]) if has_heads else counts[id(exprs[0])]
