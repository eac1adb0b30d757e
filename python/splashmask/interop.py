# SPDX-License-Identifier: Apache-2.0
"""Masks of other libraries. Imports none of them: whoever has such a mask has imported its class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import masks
from .errors import ArgumentTypeError
from .masks import Mask
from .multi_head_mask import MultiHeadMask

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np

# The modules whose classes are known, and for the computable ones the function that each makes.
_MODULES = (
    "jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask",
    "tokamax._src.ops.experimental.tpu.splash_attention.splash_attention_mask",
)
_FUNCTIONS = {
    "CausalMask": "causal_mask_function",
    "LocalMask": "local_mask_function",
    "ChunkedCausalMask": "chunked_causal_mask_function",
}


def from_jax(mask: Any) -> Mask | MultiHeadMask:
    """Our mask for one of JAX's or tokamax's, a re-assigned `q_sequence` included.

    Classes that are not exactly the library's own become custom functions: one with a
    `mask_function` keeps it, and gets it back from process_mask; any other is asked for its cells,
    `mask[q0:q1, kv0:kv1]`, a tile at a time. The array of a NumpyMask is not copied when it is
    C-contiguous.

    Raises:
      Error: (also a TypeError) `mask` is no mask.
    """
    if isinstance(mask, (Mask, MultiHeadMask)):
        return mask
    cls = type(mask)
    name = cls.__name__ if cls.__module__ in _MODULES else None
    if name == "MultiHeadMask":
        return MultiHeadMask([from_jax(head) for head in mask.masks])
    if name == "LogicalAnd":
        return from_jax(mask.left) & from_jax(mask.right)
    if name == "LogicalOr":
        return from_jax(mask.left) | from_jax(mask.right)
    if name == "FullMask":
        return masks.FullMask(mask.shape)
    if name == "NumpyMask":
        return masks.NumpyMask(mask.array)
    if name in _FUNCTIONS and _is_untouched(mask, name):
        return _with_positions(_computable(mask, name), mask)
    if len(getattr(mask, "shape", ())) != 2 or not hasattr(mask, "__getitem__"):
        raise ArgumentTypeError(f"[mask] expected a mask of shape (q_len, kv_len), got {mask!r}")
    return _custom(mask)


def _is_untouched(mask: Any, name: str) -> bool:
    """Whether the mask still has the function that its class made for it."""
    function = mask.mask_function
    return (getattr(function, "__module__", None) == type(mask).__module__ and
            getattr(function, "__qualname__", "").endswith(_FUNCTIONS[name]))


def _computable(mask: Any, name: str) -> Mask:
    if name == "CausalMask":
        return masks.CausalMask(mask.shape, mask.offset)
    if name == "LocalMask":
        return masks.LocalMask(mask.shape, mask.window_size, mask.offset)
    return masks.ChunkedCausalMask(mask.shape, mask.chunk_size)


def _with_positions(ours: Mask, theirs: Any) -> Mask:
    ours.q_sequence = theirs.q_sequence
    return ours


def _custom(mask: Any) -> Mask:
    shape = tuple(mask.shape)
    key, is_value = mask, True
    try:
        hash(mask)
    except (NotImplementedError, TypeError):
        key, is_value = _Identity(mask), False
    computable = hasattr(mask, "mask_function") and hasattr(mask, "q_sequence")
    if computable and type(mask).__getitem__.__module__ in _MODULES:  # Its cells are its function's.
        expr = masks.custom_expr(shape, mask.mask_function, None, key, computable=True,
                                 is_value=is_value)
        return _with_positions(masks.wrap(expr), mask)

    def cells(q_ids: np.ndarray, kv_ids: np.ndarray) -> np.ndarray:
        kv = slice(int(kv_ids[0, 0]), int(kv_ids[0, -1]) + 1)
        rows = q_ids[:, 0]
        if (np.diff(rows) == 1).all():
            return mask[slice(int(rows[0]), int(rows[-1]) + 1), kv]
        return np.concatenate([mask[slice(int(row), int(row) + 1), kv] for row in rows])

    cells.__qualname__ = type(mask).__qualname__
    # A class that says itself what its cells are may have a function for the kernel all the same; it
    # is asked for rows, so that their positions must be their numbers.
    computable = computable and np.array_equal(mask.q_sequence, np.arange(shape[0]))
    return masks.wrap(masks.custom_expr(
        shape, mask.mask_function if computable else cells, None, key, computable=computable,
        is_value=is_value, cells_of=cells))


class _Identity:
    """Equal only to one for the same object."""

    def __init__(self, value: Any):
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
