# SPDX-License-Identifier: Apache-2.0
"""The mask as the kernel computes it: a function of positions."""

from __future__ import annotations

from typing import Any

from . import _core


class MaskFunction:
    """Called with q and kv positions that broadcast (NumPy, JAX, or traced by Pallas), returns bools
    of the broadcast shape. A value: equal and hashable by what it computes, so that a jitted step
    which closes over it is not traced again for an equal one."""

    __slots__ = ("_expr",)

    def __init__(self, expr: _core.Expr):
        self._expr = expr

    def __call__(self, q_ids: Any, kv_ids: Any) -> Any:
        return _evaluate(self._expr, q_ids, kv_ids)

    def __eq__(self, other: object) -> bool:
        return self._expr == other._expr if isinstance(other, MaskFunction) else NotImplemented

    def __hash__(self) -> int:
        return hash((MaskFunction, self._expr))

    def __str__(self) -> str:
        return str(self._expr)

    def __repr__(self) -> str:
        return f"<MaskFunction {self}>"

    def __reduce__(self):
        text, arrays = self._expr.state()
        return _restore, (text, self._expr.shape, arrays)


def _restore(text: str, shape: tuple[int, int], arrays: dict) -> MaskFunction:
    return MaskFunction(_core.parse(text, shape, 1, arrays)[0])


def _everywhere(q: Any, kv: Any) -> Any:
    """True of the broadcast shape, by arithmetic that Pallas can trace."""
    return (q == q) & (kv == kv)


def _local(p: dict, q: Any, kv: Any) -> Any:
    # The offset goes into the window, as Python's integers hold every sum.
    result = None
    if p["left"] is not None:
        result = q + (p["offset"] - p["left"]) <= kv
    if p["right"] is not None:
        right = q + (p["offset"] + p["right"]) >= kv
        result = right if result is None else result & right
    return _everywhere(q, kv) if result is None else result


_LEAVES = {
    "full": lambda p, q, kv: _everywhere(q, kv),
    "empty": lambda p, q, kv: ~_everywhere(q, kv),
    "causal": lambda p, q, kv: (q + p["offset"] if p["offset"] else q) >= kv,
    "local": _local,
    "chunked_causal": lambda p, q, kv: (q // p["chunk"] == kv // p["chunk"]) & (q >= kv),
    "prefix": lambda p, q, kv: (q == q) & (kv < p["n"]),
    "q_range": lambda p, q, kv: (p["a"] <= q) & (q < p["b"]) & (kv == kv),
    "kv_range": lambda p, q, kv: (q == q) & (p["a"] <= kv) & (kv < p["b"]),
    "stride": lambda p, q, kv: (q - kv) % p["step"] == p["phase"],
}
_OPERATIONS = {
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "sub": lambda a, b: a & ~b,
}


def _evaluate(expr: _core.Expr, q: Any, kv: Any) -> Any:
    kind, parts = expr.describe()
    if kind == "not":
        return ~_evaluate(parts["mask"], q, kv)
    if kind in _OPERATIONS:
        left = _evaluate(parts["left"], q, kv)
        return _OPERATIONS[kind](left, _evaluate(parts["right"], q, kv))
    return _LEAVES[kind](parts, q, kv)
