# SPDX-License-Identifier: Apache-2.0
"""Masks in their simplest form."""

from __future__ import annotations

from typing import Any

from .masks import Mask, as_mask, wrap
from .multi_head_mask import MultiHeadMask
from .process import as_multi_head_mask


def simplify(mask: Any) -> Mask | MultiHeadMask:
    """A mask that is true in exactly the same cells, in normal form: one band for causal, local and
    their compositions, no more nodes than before, the same for many ways of writing one mask. What
    `simplify=True` compiles.

    Args:
      mask: a Mask or a MultiHeadMask, ours or JAX's.

    Returns:
      A Mask for a mask, a MultiHeadMask for one.
    """
    if len(getattr(mask, "shape", ())) != 3:
        return wrap(as_mask(mask)._expr.simplify())
    simple: dict[int, Mask] = {}  # Heads mostly share a mask.
    heads = [head._expr for head in as_multi_head_mask(mask).masks]
    for expr in heads:
        if id(expr) not in simple:
            simple[id(expr)] = wrap(expr.simplify())
    return MultiHeadMask([simple[id(expr)] for expr in heads])
