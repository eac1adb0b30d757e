# SPDX-License-Identifier: Apache-2.0
"""The predicate of `where(...)` over arrays of positions: its text is Python, read by Python."""

from __future__ import annotations

import ast
import functools
import operator
from typing import Any

_BINARY = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.And: operator.and_, ast.Or: operator.or_,
}


def evaluate(predicate: str, names: dict[str, Any]) -> Any:
    """What a predicate that fails nowhere says of `names`: q, kv, q_len and kv_len, integers or arrays
    (NumPy, JAX, or traced) that broadcast. Both sides of `and` and `or` are evaluated; where Python
    would have left one alone, its values count for nothing."""
    return _evaluate(_parse(predicate), names)


@functools.lru_cache
def _parse(predicate: str) -> ast.expr:
    return ast.parse(predicate, mode="eval").body


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return names[node.id]
        case ast.UnaryOp(op=ast.USub()):
            return -_evaluate(node.operand, names)
        case ast.UnaryOp():
            return _not(_evaluate(node.operand, names))
        case ast.BinOp():
            left, right = (_evaluate(side, names) for side in (node.left, node.right))
            return _BINARY[type(node.op)](left, right)
        case ast.BoolOp():
            sides = [_evaluate(side, names) for side in node.values]
            return functools.reduce(_BINARY[type(node.op)], sides)
        case ast.Compare():
            sides = [_evaluate(side, names) for side in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides, sides[1:])
            return functools.reduce(operator.and_, (_BINARY[type(op)](a, b) for op, a, b in pairs))
    arguments = [_evaluate(side, names) for side in node.args]
    if node.func.id == "abs":
        return abs(arguments[0])
    return functools.reduce(_min if node.func.id == "min" else _max, arguments)


def _not(condition: Any) -> Any:
    return not condition if isinstance(condition, bool) else ~condition


# By arithmetic that every kind of array has; what wraps on the way wraps back.


def _min(a: Any, b: Any) -> Any:
    return b + (a - b) * (a < b)


def _max(a: Any, b: Any) -> Any:
    return b + (a - b) * (a > b)
