# SPDX-License-Identifier: Apache-2.0
"""Attention masks compiled to the block tables of splash attention."""

from typing import NamedTuple

import numpy as np

from . import _core
from ._core import Error

__all__ = ["Error", "MaskInfo", "process_dynamic_mask", "process_mask"]


class MaskInfo(NamedTuple):
    """The tables of one pass, under JAX's names, shapes and dtypes. Absent fields are None.

    Attributes:
      data_next: integer[heads_or_shards, q_blocks, kv_blocks], the next block to fetch.
      mask_next: integer, the same shape, the next entry of `partial_mask_blocks` to fetch.
      block_mask: integer, the same shape: 0 empty, 1 partial, 2 full.
      partial_mask_blocks: bool[blocks, block_q, block_kv] (dkv: [blocks, block_kv, block_q]).
      q_sequence: integer[q_len], the position of each row when the kernel computes the mask.
      is_dynamic_mask: True for `process_dynamic_mask`, whose partial blocks have the shape
        [heads, q_blocks, kv_blocks, block_q, block_kv].
    """

    data_next: np.ndarray | None
    mask_next: np.ndarray | None
    block_mask: np.ndarray | None
    partial_mask_blocks: np.ndarray | None
    q_sequence: np.ndarray | None
    is_dynamic_mask: bool | None = None


def process_mask(
    mask: str,
    shape: tuple[int, int],
    block_shape: tuple[int, int],
    *,
    num_heads: int = 0,
    arrays: dict[str, np.ndarray] | None = None,
    is_dkv: bool = False,
    downcast_smem_data: bool = True,
    head_shards: int = 1,
    q_seq_shards: int = 1,
    shrink_grid: bool = True,
    threads: int = 0,
) -> tuple[MaskInfo, str | None]:
    """Compiles a mask to the tables of JAX's `process_mask` or, with is_dkv, `process_mask_dkv`.

    Args:
      mask: text, for example "causal() & local(1023, 0)" or "[causal() * 8, full() * 8]".
      shape: (q_len, kv_len).
      block_shape: (block_q, block_kv).
      num_heads: heads of a single mask (0: one); must agree with the length of a list.
      arrays: what the text names, for example {"m.npy": ...}; C-contiguous arrays are not copied
        and must not change during the call.
      threads: 0 is as many as the machine has.

    Returns:
      The tables, and the text of the mask as the kernel computes it, or None.

    Raises:
      Error: a ValueError whose `code` names the kind, for example "InvalidArgument".
    """
    info, mask_function = _core.process_mask(
        mask,
        shape,
        num_heads,
        arrays or {},
        block_shape,
        is_dkv=is_dkv,
        downcast_smem_data=downcast_smem_data,
        head_shards=head_shards,
        q_seq_shards=q_seq_shards,
        shrink_grid=shrink_grid,
        threads=threads,
    )
    return MaskInfo(*info), mask_function


def process_dynamic_mask(
    mask: np.ndarray,
    block_shape: tuple[int, int],
    *,
    is_dkv: bool = False,
    downcast_smem_data: bool = True,
    head_shards: int = 1,
    q_seq_shards: int = 1,
    threads: int = 0,
) -> MaskInfo:
    """The tables of JAX's `process_dynamic_mask(_dkv)` for a bool[heads, q_len, kv_len] array.

    Raises:
      Error: a ValueError whose `code` names the kind, for example "InvalidArray".
    """
    info = _core.process_dynamic_mask(
        mask,
        block_shape,
        is_dkv=is_dkv,
        downcast_smem_data=downcast_smem_data,
        head_shards=head_shards,
        q_seq_shards=q_seq_shards,
        threads=threads,
    )
    return MaskInfo(*info)
