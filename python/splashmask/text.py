# SPDX-License-Identifier: Apache-2.0
"""The text form of masks, read. `str(mask)` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _core
from .errors import ArgumentTypeError, invalid
from .masks import Mask, Shape, as_array, as_int, check_shape, wrap
from .multi_head_mask import MultiHeadMask

if TYPE_CHECKING:
    import numpy as np


def _parse(text: str, shape: Shape, num_heads: int, arrays: dict[str, np.ndarray] | None) -> list:
    if not isinstance(text, str):
        raise ArgumentTypeError(f"[parse] expected text, got {text!r}")
    named = {name: as_array(array) for name, array in (arrays or {}).items()}
    return _core.parse(text, check_shape(shape), num_heads, named)


def parse(text: str, shape: Shape, *, arrays: dict[str, np.ndarray] | None = None) -> Mask:
    """Reads the text form of one mask, for example "causal() & local(1024, 0)".

    Args:
      arrays: what the text names, for example {"ids.npy": ...} for 'segments("ids.npy")'.

    Raises:
      Error: the text cannot be read; the message points at the column.
    """
    heads = _parse(text, shape, 0, arrays)
    if len(heads) != 1:
        raise invalid(f"[parse] expected one mask, got a list of {len(heads)}: use parse_heads")
    return wrap(heads[0])


def parse_heads(text: str, shape: Shape, num_heads: int = 0, *,
                arrays: dict[str, np.ndarray] | None = None) -> MultiHeadMask:
    """Reads "[causal() * 8, local(1023, 0) * 24]", or one mask for all of `num_heads` (0: as many
    as the text says). Otherwise as `parse`."""
    heads = _parse(text, shape, as_int("num_heads", num_heads), arrays)
    return MultiHeadMask([wrap(head) for head in heads])
