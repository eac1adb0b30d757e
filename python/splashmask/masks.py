# SPDX-License-Identifier: Apache-2.0
"""Masks: which (q, kv) pairs attend. True means *attend*; ranges are half open.

The classes carry JAX's names and take JAX's arguments; the functions in lower case are masks that
JAX lacks. Every mask is a value: equal when its expression is, hashable, picklable, safe to share.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from . import _core
from .errors import ArgumentTypeError, UnsupportedError, invalid

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np

Shape = tuple[int, int]


def check_shape(shape: Sequence[int]) -> Shape:
    try:
        q_len, kv_len = (operator.index(length) for length in shape)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"[mask] expected a shape (q_len, kv_len) of two integers, got {shape!r}") from None
    return as_int("q_len", q_len), as_int("kv_len", kv_len)


def as_int(name: str, value: Any, *, operation: str = "mask", bits: int = 64) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            f"[{operation}] expected {name} to be an integer, got {value!r}") from None
    if not -2**(bits - 1) <= number < 2**(bits - 1):
        raise invalid(f"[{operation}] expected {name} in {bits} bits, got {number}")
    return number


def as_array(array: Any) -> np.ndarray:
    """C-contiguous and in this machine's byte order: integers as a copy, which nobody changes, bools
    without one where they are both already, as they may be huge."""
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("=")
    return (np.ascontiguousarray(array) if dtype == np.bool_ else
            np.array(array, dtype=dtype, order="C"))


class Mask:
    """An immutable mask expression of shape (q_len, kv_len).

    `a & b`, `a | b`, `a ^ b`, `a - b` (a and not b) and `~a` make new ones; `str(mask)` is the text
    form, which `parse` reads; `mask[q0:q1, kv0:kv1]` evaluates cells, bool[q1 - q0, kv1 - kv0].
    """

    __slots__ = ("_expr",)
    _expr: _core.Expr

    def __init__(self, *args: Any, **kwargs: Any):
        raise ArgumentTypeError("[mask] expected one of the mask classes, or parse(), got Mask()")

    @property
    def shape(self) -> Shape:
        """(q_len, kv_len)."""
        return self._expr.shape

    @property
    def q_sequence(self) -> np.ndarray:
        """integer[q_len], the position at which each row is evaluated: int32 0, 1, ... unless it
        has been assigned, as JAX users do. Assigning rebinds this object to the reordered mask;
        expressions already built from it keep their value."""
        kind, parts = self._expr.describe()
        if kind == "reorder" and parts["q"] is not None:
            return parts["q"]
        return np.arange(self.shape[0], dtype=np.int32)

    @q_sequence.setter
    def q_sequence(self, positions: np.ndarray) -> None:
        kind, parts = self._expr.describe()
        mask, kv = (parts["mask"], parts["kv"]) if kind == "reorder" else (self._expr, None)
        self._expr = mask.reorder(as_array(positions), kv)
        self.__class__ = type(wrap(self._expr))  # A reordered array is no NumpyMask any more.

    def __getitem__(self, index: tuple[slice, slice]) -> np.ndarray:
        if not isinstance(index, tuple) or len(index) != 2:
            raise UnsupportedError(f"[mask] expected two slices, got {index!r}")
        return self._expr.cells(*(_range(i, n) for i, n in zip(index, self.shape)))

    def __bool__(self) -> bool:
        raise UnsupportedError(
            "[mask] expected `&`, `|` or `~`, got `and`, `or`, `not` or a condition: a mask is "
            "neither true nor false")

    def _combine(self, other: Any, operation: Callable) -> Any:
        if not isinstance(other, Mask):
            if len(getattr(other, "shape", ())) != 2 or isinstance(other, np.ndarray):
                return NotImplemented
            other = as_mask(other)  # JAX's, or somebody's own.
        return wrap(operation(self._expr, other._expr))

    def __and__(self, other: Mask) -> Mask:
        return self._combine(other, operator.and_)

    def __or__(self, other: Mask) -> Mask:
        return self._combine(other, operator.or_)

    def __xor__(self, other: Mask) -> Mask:
        return self._combine(other, operator.xor)

    def __sub__(self, other: Mask) -> Mask:
        return self._combine(other, operator.sub)

    def __invert__(self) -> Mask:
        return wrap(~self._expr)

    def __eq__(self, other: object) -> bool:
        return self._expr == other._expr if isinstance(other, Mask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._expr)

    def __str__(self) -> str:
        return str(self._expr)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape}: {self}>"

    def __reduce__(self):
        text, arrays = self._expr.state()
        return _restore, (text, self.shape, arrays)


def _range(index: Any, length: int) -> tuple[int, int]:
    if not isinstance(index, slice) or index.step not in (None, 1):
        raise UnsupportedError(f"[mask] expected slices without a step, got {index!r}")
    return (0 if index.start is None else operator.index(index.start),
            length if index.stop is None else operator.index(index.stop))


def _restore(text: str, shape: Shape, arrays: dict[str, np.ndarray]) -> Mask:
    return wrap(_core.parse(text, shape, 1, arrays)[0])


def _check_shard_count(shape: Shape, shard_count: int) -> None:
    """JAX's rule; the count has no other effect."""
    shard_count = as_int("shard_count", shard_count)
    if shard_count == 0 or shape[0] % shard_count**2 != 0:
        raise invalid(f"[mask] expected shard_count squared ({shard_count**2}) to divide q_len "
                      f"({shape[0]})")


class _Positional(Mask):
    """A mask that the kernel can compute from positions alone."""

    __slots__ = ()

    def _part(self, name: str) -> Any:
        kind, parts = self._expr.describe()
        return (parts["mask"].describe()[1] if kind == "reorder" else parts)[name]


class CausalMask(_Positional):
    """q + offset >= kv."""

    __slots__ = ()

    def __init__(self, shape: Shape, offset: int = 0, shard_count: int = 1):
        shape = check_shape(shape)
        _check_shard_count(shape, shard_count)
        self._expr = _core.Expr.causal(shape, as_int("offset", offset))

    @property
    def offset(self) -> int:
        return self._part("offset")


class LocalMask(_Positional):
    """q + offset - left <= kv <= q + offset + right for window_size (left, right); None is
    unbounded on that side. A model's "window of w tokens" counts the token itself:
    window_size (w - 1, 0)."""

    __slots__ = ()

    def __init__(self, shape: Shape, window_size: tuple[int | None, int | None], offset: int,
                 shard_count: int = 1):
        shape = check_shape(shape)
        _check_shard_count(shape, shard_count)
        try:
            left, right = window_size
        except (TypeError, ValueError):
            raise ArgumentTypeError("[mask] expected window_size to be (left, right), got "
                                    f"{window_size!r}") from None
        left, right = (None if side is None else as_int("window_size", side) for side in (left, right))
        self._expr = _core.Expr.local(shape, left, right, as_int("offset", offset))

    @property
    def window_size(self) -> tuple[int | None, int | None]:
        return self._part("left"), self._part("right")

    @property
    def offset(self) -> int:
        return self._part("offset")


class ChunkedCausalMask(_Positional):
    """q // chunk_size == kv // chunk_size and q >= kv."""

    __slots__ = ()

    def __init__(self, shape: Shape, chunk_size: int, shard_count: int = 1):
        shape = check_shape(shape)
        _check_shard_count(shape, shard_count)
        self._expr = _core.Expr.chunked_causal(shape, as_int("chunk_size", chunk_size))

    @property
    def chunk_size(self) -> int:
        return self._part("chunk")


class FullMask(Mask):
    """Every pair."""

    __slots__ = ()

    def __init__(self, _shape: Shape):
        self._expr = _core.Expr.full(check_shape(_shape))


class NumpyMask(Mask):
    """The cells of a bool[q_len, kv_len] array. A C-contiguous array is not copied and must not
    change while the mask lives."""

    __slots__ = ()

    def __init__(self, array: np.ndarray):
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.bool_:
            got = (f"{array.dtype} of rank {array.ndim}" if isinstance(array, np.ndarray) else
                   f"a {type(array).__name__}")
            raise invalid(f"[mask] expected a bool array of rank 2, got {got}")
        self._expr = _core.Expr.dense(array.shape, np.ascontiguousarray(array))

    @property
    def array(self) -> np.ndarray:
        """The cells, read-only."""
        return self._expr.describe()[1]["array"]

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.array[index]


class CustomMask(Mask):
    """What a function of positions says.

    Args:
      shape: (q_len, kv_len).
      mask_function: called with q ids [n, 1] and kv ids [1, m], returns bools that broadcast to
        [n, m]. It is called in tiles, from any thread, and must give the same answer each time. When
        every head has this mask, the kernel computes it: then it must be traceable, too.
      classify: called with (q_begin, q_end, kv_begin, kv_end), half-open ranges of positions;
        returns True when every pair attends, False when none does, None when it does not know. With
        it, tiles that are all alike are never evaluated.

    Masks of equal functions are equal. Such a mask has no text form and cannot be pickled.
    """

    __slots__ = ()

    def __init__(self, shape: Shape, mask_function: Callable, *, classify: Callable | None = None):
        for name, value in (("mask_function", mask_function), ("classify", classify)):
            if not callable(value) and (name, value) != ("classify", None):
                raise ArgumentTypeError(f"[mask] expected {name} to be callable, got {value!r}")
        self._expr = custom_expr(check_shape(shape), mask_function, classify,
                                 (mask_function, classify), computable=True)

    @property
    def mask_function(self) -> Callable:
        kind, parts = self._expr.describe()
        return (parts["mask"].describe()[1] if kind == "reorder" else parts)["function"]


def custom_expr(shape: Shape, function: Callable, classify: Callable | None, key: Any,
                *, computable: bool, is_value: bool = True,
                cells_of: Callable | None = None) -> _core.Expr:
    """An expression of what `cells_of` (the same as `function`) says of q ids [n, 1] and kv ids
    [1, m]; `function` is what the kernel gets to compute."""
    cells_of = cells_of or function
    name = getattr(cells_of, "__qualname__", None) or repr(cells_of)

    def evaluate(q: np.ndarray, kv_begin: int, kv_end: int) -> np.ndarray:
        fits = q.size == 0 or (q.min() >= -2**31 and q.max() < 2**31)
        q_ids = (q.astype(np.int32) if fits else q)[:, None]
        kv_ids = np.arange(kv_begin, kv_end)[None, :]
        shape = (q.size, kv_end - kv_begin)
        cells = np.asarray(cells_of(q_ids, kv_ids))
        if cells.dtype != np.bool_:
            raise ArgumentTypeError(
                f"[mask] expected {name} to return bools, got {cells.dtype}")
        try:
            return np.ascontiguousarray(np.broadcast_to(cells, shape))
        except ValueError:
            raise invalid(f"[mask] expected {name} to return bools of shape {shape}, got shape "
                          f"{cells.shape}") from None

    return _core.Expr.custom(shape, function, evaluate, classify, key, name, computable,
                              is_value)


class LogicalAnd(Mask):
    """left & right."""

    __slots__ = ()

    def __init__(self, left: Mask, right: Mask):
        self._expr = as_mask(left)._expr & as_mask(right)._expr

    @property
    def left(self) -> Mask:
        return wrap(self._expr.describe()[1]["left"])

    @property
    def right(self) -> Mask:
        return wrap(self._expr.describe()[1]["right"])


class LogicalOr(LogicalAnd):
    """left | right."""

    __slots__ = ()

    def __init__(self, left: Mask, right: Mask):
        self._expr = as_mask(left)._expr | as_mask(right)._expr


class _Composed(Mask):
    """A mask that JAX has no class for."""

    __slots__ = ()


_CLASSES = {
    "causal": CausalMask, "local": LocalMask, "chunked_causal": ChunkedCausalMask,
    "full": FullMask, "dense": NumpyMask, "and": LogicalAnd, "or": LogicalOr,
    "custom": CustomMask,
}


def wrap(expr: _core.Expr) -> Mask:
    """The mask object of an expression."""
    kind, parts = expr.describe()
    inner = parts["mask"].describe()[0] if kind == "reorder" else kind
    cls = _CLASSES.get(inner, _Composed)
    if kind == "reorder" and (parts["kv"] is not None or
                              not issubclass(cls, (_Positional, CustomMask))):
        cls = _Composed
    mask = object.__new__(cls)
    mask._expr = expr
    return mask


def as_mask(mask: Any) -> Mask:
    """`mask`, or ours for one of JAX's or tokamax's."""
    if not isinstance(mask, Mask):
        from .interop import from_jax

        mask = from_jax(mask)
        if not isinstance(mask, Mask):
            raise ArgumentTypeError(f"[mask] expected one mask, got {mask!r}")
    return mask


# ---- Masks that JAX lacks.


def empty(shape: Shape) -> Mask:
    """No pair."""
    return wrap(_core.Expr.empty(check_shape(shape)))


def prefix(shape: Shape, n: int) -> Mask:
    """kv < n, so that `CausalMask(shape) | prefix(shape, 128)` is a prefix LM."""
    return wrap(_core.Expr.prefix(check_shape(shape), as_int("n", n)))


def q_range(shape: Shape, a: int, b: int) -> Mask:
    """a <= q < b."""
    return wrap(_core.Expr.q_range(check_shape(shape), as_int("a", a), as_int("b", b)))


def kv_range(shape: Shape, a: int, b: int) -> Mask:
    """a <= kv < b."""
    return wrap(_core.Expr.kv_range(check_shape(shape), as_int("a", a), as_int("b", b)))


def stride(shape: Shape, step: int, phase: int = 0) -> Mask:
    """(q - kv) mod step == phase, mod never negative; step >= 1, 0 <= phase < step."""
    return wrap(_core.Expr.stride(check_shape(shape), as_int("step", step), as_int("phase", phase)))


def documents(shape: Shape, lengths: Sequence[int]) -> Mask:
    """Same document, from lengths >= 0 that sum to at most each axis; positions past the last
    document are padding and see nothing."""
    if not isinstance(lengths, Iterable):
        raise ArgumentTypeError(f"[mask] expected a list of lengths, got {lengths!r}")
    return wrap(_core.Expr.documents(check_shape(shape), [as_int("length", n) for n in lengths]))


def segments(q: np.ndarray, kv: np.ndarray | None = None, pad: int | None = None) -> Mask:
    """q[i] == kv[j] for integer ids [q_len] and [kv_len] (kv: the same as q). Ids may be negative,
    come in any order and come back: equal ids are one segment wherever they are. Ids equal to `pad`
    see nothing and are seen by nothing."""
    q = as_array(q)
    kv = q if kv is None else as_array(kv)
    for name, ids in (("q", q), ("kv", kv)):
        if ids.dtype.kind not in "iu":
            raise ArgumentTypeError(f"[mask] expected {name} ids to be integers, got {ids.dtype}")
    if q.ndim != 1 or kv.ndim != 1:
        raise invalid(f"[mask] expected ids of rank 1, got rank {q.ndim} and {kv.ndim}")
    pad = None if pad is None else as_int("pad", pad)
    return wrap(_core.Expr.segments((q.size, kv.size), q, kv, pad))


def blocks(shape: Shape, bits: np.ndarray, block: int) -> Mask:
    """The block of `block` x `block` positions that holds (q, kv) is set in
    bool[ceil(q_len / block), ceil(kv_len / block)]."""
    return wrap(_core.Expr.blocks(check_shape(shape), as_array(bits), as_int("block", block)))


def where(shape: Shape, predicate: str) -> Mask:
    """What a predicate says of the integers `q`, `kv`, `q_len` and `kv_len`, as Python evaluates it:
    `+ - * // %`, comparisons, `and or not`, `abs min max`. For example "q >= kv and (q - kv) % 64 < 8".
    Unlike a CustomMask it has a text form, can be pickled and stored, and rectangles that interval
    arithmetic decides are never evaluated.

    Raises:
      Error: `predicate` is no such condition, or in some cell of the shape it divides by zero or
        leaves 64 bits; the message names the first one in row order.
    """
    if not isinstance(predicate, str):
        raise ArgumentTypeError(f"[mask] expected a predicate as text, got {predicate!r}")
    return wrap(_core.Expr.where(check_shape(shape), predicate))


def reorder(mask: Mask, q: np.ndarray | None = None, kv: np.ndarray | None = None) -> Mask:
    """Row r is `mask` evaluated at q position q[r], column c at kv position kv[c]; None leaves an axis
    as it is. Any integers, also with repeats (of kv up to 2**60 in magnitude); q_sequence keeps the
    dtype of q. Masks with arrays need positions in [0, q_len) and [0, kv_len)."""
    q, kv = (None if order is None else as_array(order) for order in (q, kv))
    return wrap(as_mask(mask)._expr.reorder(q, kv))


def zigzag(mask: Mask, n: int, *, kv: bool = False) -> Mask:
    """`mask` with its q positions (with `kv` its kv positions, too) in 2n equal pieces, shard i
    getting pieces i and 2n - 1 - i."""
    return _lay_out(mask, "zigzag", n, kv)


def striped(mask: Mask, n: int, *, kv: bool = False) -> Mask:
    """`mask` with its q positions (with `kv` its kv positions, too) so laid out that shard i gets
    those congruent to i modulo n."""
    return _lay_out(mask, "striped", n, kv)


def _lay_out(mask: Mask, layout: str, n: int, kv: bool) -> Mask:
    order = (layout, as_int("n", n))
    return wrap(as_mask(mask)._expr.reorder(order, order if kv else None))
