# SPDX-License-Identifier: Apache-2.0
"""Masks compared as functions, and pairs explained."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import _core
from .errors import ArgumentTypeError, invalid
from .masks import Mask, as_int, as_mask
from .plan import Plan
from .process import as_multi_head_mask


class DifferingPair(NamedTuple):
    """A pair that attends in one of two masks alone: `a` and `b` are what they say of it."""

    q: int
    kv: int
    a: bool
    b: bool


class Difference(NamedTuple):
    """How two masks differ: in how many pairs, and the first of them, by q and then kv (or None)."""

    cells: int
    first: DifferingPair | None

    @property
    def equal(self) -> bool:
        """Whether every pair is the same in both."""
        return self.cells == 0


def _is_multi_head(mask: Any) -> bool:
    return isinstance(mask, Plan) or len(getattr(mask, "shape", ())) == 3


def _heads(mask: Any) -> tuple[Mask, ...]:
    if isinstance(mask, Plan):
        return mask.mask.masks
    return as_multi_head_mask(mask).masks if _is_multi_head(mask) else (as_mask(mask),)


def diff(a: Any, b: Any, *, threads: int = 0) -> Difference | list[Difference]:
    """Whether two masks are equal as functions of (q, kv), however they are written; exact, and
    without visiting cells where runs of rows tell.

    Args:
      a, b: both a Mask of (q_len, kv_len), or both a MultiHeadMask of (num_heads, q_len, kv_len) or a
        Plan, whose mask counts; ours or JAX's.
      threads: 0 is as many as the machine has.

    Returns:
      A Difference (`equal`, `cells`, `first`) for masks, a list of one a head for the others.

    Raises:
      Error: shapes or numbers of heads that differ, more cells than 64 bits count.
    """
    has_heads = _is_multi_head(a)
    if has_heads != _is_multi_head(b):
        raise invalid("[diff] expected two masks, or two of one mask a head, got one of each: "
                      "MultiHeadMask([mask] * num_heads) makes the latter")
    found = _core.diff_masks([head._expr for head in _heads(a)], [head._expr for head in _heads(b)],
                             as_int("threads", threads, operation="diff", bits=32))
    differences = [Difference(cells, first and DifferingPair(*first)) for cells, first in found]
    return differences if has_heads else differences[0]


class ExplainedPart(NamedTuple):
    """A leaf of a mask's expression, or an operator with its operands, at one pair.

    Attributes:
      depth: how many parts it is an operand of.
      part: a leaf's text form; "&", "|", "^", "-", "~" or "reorder" for the others.
      q, kv: where it is evaluated: other positions below a reorder.
      value: what it says there.
      decides: it is one of the leaves that decide.
      reason: a leaf: what its definition says with these numbers. A reorder: where it looks.
    """

    depth: int
    part: str
    q: int
    kv: int
    value: bool
    decides: bool
    reason: str


class Explanation(NamedTuple):
    """Why a pair attends or not; `str` makes a tree of it.

    Attributes:
      head: which mask, or None for a mask without heads.
      q, kv: the pair.
      value: whether it attends.
      parts: the whole expression, then its operands in the order of the text, each before its own.
    """

    head: int | None
    q: int
    kv: int
    value: bool
    parts: list[ExplainedPart]
    text: str

    @property
    def reasons(self) -> list[ExplainedPart]:
        """The leaves that decide: as few as possible, and whatever the other leaves said, the pair
        would be the same."""
        return [part for part in self.parts if part.decides]

    def __str__(self) -> str:
        return self.text


def explain(mask: Any, *position: int, head: int | None = None, q: int | None = None,
            kv: int | None = None) -> Explanation:
    """Why a pair attends or not: `explain(mask, q, kv)`, or `explain(mask, head, q, kv)` for one mask
    a head. Positions may be given by name; the head is 0 if it is not.

    Args:
      mask: a Mask, a MultiHeadMask or a Plan, ours or JAX's.
      position: (q, kv) or (head, q, kv).

    Raises:
      Error: a position or head that is not there. (Also a TypeError: positions that are no integers,
        too many or too few; a head for a mask without heads.)
    """
    names = {2: ("q", "kv"), 3: ("head", "q", "kv"), 0: ()}.get(len(position))
    given = {"head": head, "q": q, "kv": kv}
    if names is None or any(given[name] is not None for name in names):
        raise ArgumentTypeError(
            f"[explain] expected (mask, q, kv) or (mask, head, q, kv), got {len(position)} positions"
            + (" and some by name" if names else ""))
    given.update(zip(names, position))
    if given["q"] is None or given["kv"] is None:
        raise ArgumentTypeError("[explain] expected q and kv")
    has_heads = _is_multi_head(mask)
    if has_heads and given["head"] is None:
        given["head"] = 0
    elif not has_heads and given["head"] is not None:
        raise ArgumentTypeError("[explain] expected (mask, q, kv) for a mask without heads, got a head")
    checked = {name: as_int(name, value, operation="explain")
               for name, value in given.items() if value is not None}
    exprs = [one._expr for one in _heads(mask)]
    parts, text = _core.explain(exprs, checked.get("head"), checked["q"], checked["kv"])
    parts = [ExplainedPart(*part) for part in parts]
    return Explanation(checked.get("head"), checked["q"], checked["kv"], parts[0].value, parts, text)
