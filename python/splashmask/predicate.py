# SPDX-License-Identifier: Apache-2.0
"""The predicate of `where(...)` over arrays of positions."""

from __future__ import annotations

import operator
from typing import Any

Operation = tuple[str, int, int, int]  # Its name, its operands' numbers, and the value of a constant.


def evaluate(program: list[Operation], q: Any, kv: Any) -> Any:
    """What a program says of integers or arrays (NumPy, JAX, or traced) that broadcast. Both sides of
    `and` and `or` are evaluated; where Python would have left one alone, as it fails, its values count
    for nothing."""
    values: list[Any] = []
    for name, left, right, constant in program:
        operands = [values[i] for i in (left, right) if i >= 0]
        values.append({"constant": constant, "q": q, "kv": kv}[name] if not operands
                      else _OPERATIONS[name](*operands))
    return values[-1]


def _divisor(b: Any) -> Any:
    """b, or 1 where it is 0."""
    return (b or 1) if isinstance(b, int) else b + (b == 0)


def _not(condition: Any) -> Any:
    return not condition if isinstance(condition, (bool, int)) else ~condition


# By arithmetic that every kind of array has; what wraps on the way wraps back.


def _min(a: Any, b: Any) -> Any:
    return b + (a - b) * (a < b)


def _max(a: Any, b: Any) -> Any:
    return b + (a - b) * (a > b)


_OPERATIONS = {
    "-x": operator.neg, "abs": abs, "+": operator.add, "-": operator.sub, "*": operator.mul,
    "//": lambda a, b: a // _divisor(b), "%": lambda a, b: a % _divisor(b), "min": _min, "max": _max,
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge, "not": _not, "and": operator.and_, "or": operator.or_,
}
