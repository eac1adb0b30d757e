# SPDX-License-Identifier: Apache-2.0
"""The mask as the kernel computes it: a function of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from .predicate import evaluate

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


class MaskFunction:
    """Called with q and kv positions that broadcast (NumPy, JAX, or traced by Pallas), returns bools
    of the broadcast shape. A value: equal and hashable by what it computes, so that a jitted step
    which closes over it is not traced again for an equal one."""

    __slots__ = ("_expr",)

    def __init__(self, expr: _core.Expr):
        self._expr = expr

    def __call__(self, q_ids: Any, kv_ids: Any) -> Any:
        return _evaluate(self._expr, _signed(q_ids), _signed(kv_ids))

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


def _signed(x: Any) -> Any:
    """Positions of at least 32 bits that may be less than zero: what is computed from them may."""
    dtype = getattr(x, "dtype", None)
    if dtype is None or (np.dtype(dtype).kind == "i" and np.dtype(dtype).itemsize >= 4):
        return x
    is_wide = isinstance(x, np.ndarray) and np.dtype(dtype).itemsize >= 4
    return x.astype(np.int64 if is_wide else np.int32)


# Positions are int32 in the kernel, parameters any integer: a sum with a position would wrap, or not
# even be an int32, where a parameter is large.


def _keep(n: int, x: Any) -> int:
    """n, or the end of the range of x's dtype that is nearest; at least 32 bits wide."""
    limit = 2**63 if getattr(x, "dtype", None) in ("int64", "uint64") else 2**31
    return max(-limit, min(n, limit - 1))


def _shifted_at_least(q: Any, shift: int, kv: Any) -> Any:
    """q + shift >= kv."""
    if abs(shift) < 2**30:
        return (q + shift if shift else q) >= kv
    return q - kv >= _keep(-shift, q)


def _shifted_at_most(q: Any, shift: int, kv: Any) -> Any:
    """q + shift <= kv."""
    if abs(shift) < 2**30:
        return q + shift <= kv
    return q - kv <= _keep(-shift, q)


def _equals(x: Any, n: int) -> Any:
    return x == n if _keep(n, x) == n else x != x


def _local(p: dict, q: Any, kv: Any) -> Any:
    result = None
    if p["left"] is not None:
        result = _shifted_at_most(q, p["offset"] - p["left"], kv)
    if p["right"] is not None:
        right = _shifted_at_least(q, p["offset"] + p["right"], kv)
        result = right if result is None else result & right
    return _everywhere(q, kv) if result is None else result


def _chunked_causal(p: dict, q: Any, kv: Any) -> Any:
    chunk = p["chunk"]
    alike = (q // chunk == kv // chunk if _keep(chunk, q) == chunk else (q < 0) == (kv < 0))
    return alike & (q >= kv)


def _stride(p: dict, q: Any, kv: Any) -> Any:
    distance, step, phase = q - kv, p["step"], p["phase"]
    if _keep(step, distance) == step:
        return distance % step == phase
    return _equals(distance, phase) | _equals(distance, phase - step)


_LEAVES = {
    "full": lambda p, q, kv: _everywhere(q, kv),
    "empty": lambda p, q, kv: ~_everywhere(q, kv),
    "causal": lambda p, q, kv: _shifted_at_least(q, p["offset"], kv),
    "local": _local,
    "chunked_causal": _chunked_causal,
    "prefix": lambda p, q, kv: (q == q) & (kv < _keep(p["n"], kv)),
    "q_range": lambda p, q, kv: (_keep(p["a"], q) <= q) & (q < _keep(p["b"], q)) & (kv == kv),
    "kv_range": lambda p, q, kv: (q == q) & (_keep(p["a"], kv) <= kv) & (kv < _keep(p["b"], kv)),
    "stride": _stride,
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
    if kind == "where":
        return _everywhere(q, kv) & (evaluate(expr.program(), q, kv) != 0)
    return _LEAVES[kind](parts, q, kv)
