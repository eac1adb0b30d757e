# SPDX-License-Identifier: Apache-2.0
"""One mask a head."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import _core
from .errors import UnsupportedError, invalid
from .masks import Mask, as_mask

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


class MultiHeadMask:
    """One mask for each head, all of one shape.

    Args:
      masks: one mask or more, ours or JAX's.

    Raises:
      Error: no mask at all, shapes that differ, or something that is no mask of one head.
    """

    __slots__ = ("masks",)

    def __init__(self, masks: Iterable[Mask]):
        if isinstance(masks, Mask):
            raise invalid("[mask] expected a list of masks, got one: MultiHeadMask([mask] * num_heads)")
        masks = tuple(masks)
        if not masks:
            raise invalid("[mask] expected at least one mask, got none")
        for mask in masks:
            if isinstance(mask, MultiHeadMask):
                raise invalid("[mask] expected masks of one head, got a MultiHeadMask among them")
        self.masks = tuple(as_mask(mask) for mask in masks)
        for head, mask in enumerate(self.masks):
            if mask.shape != self.masks[0].shape:
                raise invalid(f"[mask] expected masks of one shape {self.masks[0].shape}, got "
                              f"{mask.shape} for head {head}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(num_heads, q_len, kv_len)."""
        return (len(self.masks), *self.masks[0].shape)

    def __getitem__(self, index: tuple) -> np.ndarray:
        if not isinstance(index, tuple) or len(index) != 3:
            raise UnsupportedError(f"[mask] expected a head (or a slice of heads) and two slices, "
                                   f"got {index!r}")
        if isinstance(index[0], slice):
            return np.stack([mask[index[1:]] for mask in self.masks[index[0]]])
        return self.masks[operator.index(index[0])][index[1:]]

    __bool__ = Mask.__bool__

    def __eq__(self, other: object) -> bool:
        return self.masks == other.masks if isinstance(other, MultiHeadMask) else NotImplemented

    def __hash__(self) -> int:
        return hash((MultiHeadMask, self.masks))

    def __str__(self) -> str:
        return _core.mask_text([mask._expr for mask in self.masks])

    def __repr__(self) -> str:
        return f"<MultiHeadMask {self.shape}: {self}>"

    def __reduce__(self):
        return MultiHeadMask, (self.masks,)
