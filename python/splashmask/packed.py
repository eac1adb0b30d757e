# SPDX-License-Identifier: Apache-2.0
"""Packed documents: tables for a batch at a time, of a shape that no batch changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .errors import ArgumentTypeError, invalid
from .masks import Mask, as_mask
from .process import check_count
from .text import parse

if TYPE_CHECKING:
    import numpy as np
else:
    from ._numpy import np


class PackedPass(NamedTuple):
    """The tables of one pass for a batch of sequences.

    Attributes:
      data_next: integer[batch, 1, q_blocks, width] (dkv: [batch, 1, height, kv_blocks]), the block
        to fetch.
      block_mask: the same shape: 0 may be skipped, 1 must be visited.
    """

    data_next: np.ndarray
    block_mask: np.ndarray


class PackedTables(NamedTuple):
    """Both passes, arrays alone: hand it to a jitted step, map it over its first axis."""

    fwd: PackedPass
    dkv: PackedPass


def packed_mask(mask: Mask | str, length: int) -> Mask:
    """The mask of [length, length] that `mask` says, or is."""
    return parse(mask, (length, length)) if isinstance(mask, str) else as_mask(mask)


def _ids(segment_ids: Any) -> np.ndarray:
    ids = np.asarray(segment_ids)
    if ids.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"[compile_packed] expected segment_ids to be integers, got {ids.dtype}")
    if ids.ndim != 2:
        raise invalid("[compile_packed] expected segment_ids of shape (batch, length), got "
                      f"{ids.shape}")
    if ids.dtype == np.int32:
        return np.ascontiguousarray(ids)
    narrow = ids.astype(np.int32)
    if not np.array_equal(narrow, ids):
        raise invalid("[compile_packed] expected segment_ids that int32 holds, as the kernel's do")
    return narrow


def compile_packed(segment_ids: np.ndarray, mask: Mask | str = "causal()", *, block_q: int = 512,
                   block_kv: int = 512, block_q_dkv: int | None = None,
                   block_kv_dkv: int | None = None, width: int | None = None,
                   height: int | None = None, pad: int | None = 0,
                   use_fused_bwd_kernel: bool = False, downcast_smem_data: bool = True,
                   threads: int = 0) -> PackedTables:
    """Tables for sequences whose tokens see those of the same document that `mask` lets them see.

    The kernel applies the segment ids and the mask function in every block that it visits, so there
    are no partial blocks: a block is visited if and only if it holds a visible pair of a document,
    or a padded position on the diagonal (a padded row without any block would be NaN).

    Args:
      segment_ids: integer[batch, length]. Equal ids are one document wherever they are; ids may be
        negative, in any order, and come back.
      mask: its text form or a mask of [length, length] that depends on q - kv alone: full, causal,
        local, stride and their compositions. Positions are those of the whole sequence; fold chunks
        into the ids.
      block_q, block_kv: of the fwd and dq kernels; block_q_dkv, block_kv_dkv: of dkv (the same).
      width, height: kv blocks in a row of the fwd tables, q blocks in a column of dkv. By default
        what one document as long as the sequence would need.
      pad: the id of padding, None when there is none.
      use_fused_bwd_kernel: dkv tables are not shrunk.
      downcast_smem_data: the smallest dtype for the number of blocks, instead of int32.

    Returns:
      Tables whose shapes and dtypes depend on everything but the ids, so that a jitted step is
      compiled once. `splashmask.jax.make_packed_splash_mha` makes a kernel of one sequence's.

    Raises:
      Error: a sequence needs more than `width` or `height` (named, with what it needs), a mask that
        tells positions apart or hides a token from itself, blocks that do not divide the length.
    """
    ids = _ids(segment_ids)
    sizes = {
        "block_q": block_q, "block_kv": block_kv,
        "block_q_dkv": block_q if block_q_dkv is None else block_q_dkv,
        "block_kv_dkv": block_kv if block_kv_dkv is None else block_kv_dkv,
    }
    fwd, dkv = _core.compile_packed(
        ids, packed_mask(mask, ids.shape[1])._expr,
        **{name: check_count(name, size) for name, size in sizes.items()},
        width=None if width is None else check_count("width", width),
        height=None if height is None else check_count("height", height),
        pad=None if pad is None else check_count("pad", pad, bits=32),
        use_fused_bwd_kernel=bool(use_fused_bwd_kernel),
        downcast_smem_data=bool(downcast_smem_data), threads=check_count("threads", threads, bits=32))
    return PackedTables(PackedPass(*fwd), PackedPass(*dkv))
