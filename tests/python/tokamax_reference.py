# SPDX-License-Identifier: Apache-2.0
"""tokamax's answer to a case, the inputs on which tokamax has none, and ours beside it."""

import dataclasses

import mask_text
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from mask_cases import Expr
from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask as tk_masks
from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask_info as tk_info

import splashmask
import splashmask.tokamax as smt

# Why tokamax has no answer, and what it does instead.
OVERFLOW = "a parameter that the dtype of the positions cannot hold: OverflowError"
WRAP = "arithmetic that wraps in the dtype of the positions: wrong cells"


@dataclasses.dataclass(frozen=True)
class TokamaxCase:
    """What both sides are asked."""

    shape: tuple[int, int]
    mask: Expr
    arrays: dict[str, np.ndarray]
    block: tuple[int, int]
    q_seq_shards: int = 1
    kv_seq_shards: int = 1
    downcast_smem_data: bool = True
    return_dynamic_grid: bool = True
    partial_mask_blocks_dtype: str = "int8"

    def options(self):
        return dict(
            q_seq_shards=self.q_seq_shards,
            kv_seq_shards=self.kv_seq_shards,
            downcast_smem_data=self.downcast_smem_data,
            return_dynamic_grid=self.return_dynamic_grid,
        )

    def values(self):
        """bool[q_len, kv_len], from the text."""
        return mask_text.materialise(self.mask.text, self.shape, self.arrays)


class ArrayMask(tk_masks.Mask):
    """A mask that tokamax has no class for, as its user would write it."""

    def __init__(self, array):
        self.array = array

    @property
    def shape(self):
        return self.array.shape

    def __getitem__(self, index):
        return self.array[index]


def to_tokamax(mask):
    """tokamax's twin of a JAX mask."""
    if isinstance(mask, (jax_masks.LogicalAnd, jax_masks.LogicalOr)):
        twin = getattr(tk_masks, type(mask).__name__)
        return twin(to_tokamax(mask.left), to_tokamax(mask.right))
    if isinstance(mask, jax_masks.FullMask):
        return tk_masks.FullMask(mask.shape)
    if isinstance(mask, jax_masks.NumpyMask):
        return tk_masks.NumpyMask(mask.array)
    if isinstance(mask, jax_masks.CausalMask):
        twin = tk_masks.CausalMask(mask.shape, mask.offset)
    elif isinstance(mask, jax_masks.LocalMask):
        twin = tk_masks.LocalMask(mask.shape, mask.window_size, mask.offset)
    elif isinstance(mask, jax_masks.ChunkedCausalMask):
        twin = tk_masks.ChunkedCausalMask(mask.shape, mask.chunk_size)
    else:
        return ArrayMask(mask.array)
    twin.q_sequence = mask.q_sequence
    return twin


def process(mask, case, is_dkv):
    """tokamax's (MaskInfo, mask_function), never from its cache."""
    function = tk_info.process_mask_dkv if is_dkv else tk_info.process_mask
    return function.func.__wrapped__(
        mask,
        case.block,
        is_dkv=is_dkv,
        partial_mask_blocks_dtype=np.dtype(case.partial_mask_blocks_dtype),
        **case.options(),
    )


def our_mask(case):
    return splashmask.parse(case.mask.text, case.shape, arrays=case.arrays)


def ours(case, is_dkv, mask=None):
    """Our (tokamax MaskInfo, mask function)."""
    process_mask = smt.process_mask_dkv if is_dkv else smt.process_mask
    return process_mask(our_mask(case) if mask is None else mask, case.block,
                        partial_mask_blocks_dtype=np.dtype(case.partial_mask_blocks_dtype),
                        **case.options())


def why_tokamax_fails(case, values):
    """One of the reasons above, or None when tokamax answers; asserts that masks agree then."""
    if "overflow" in case.mask.hazards:
        return OVERFLOW
    mask = to_tokamax(case.mask.make())
    whole = mask[slice(0, case.shape[0]), slice(0, case.shape[1])]
    if np.array_equal(np.broadcast_to(whole, case.shape), values):
        return None
    assert "wrap" in case.mask.hazards, case.mask.text
    return WRAP


def implied(case, is_dkv, values):
    """What tokamax's definition implies where it fails: its own code over exact cells."""
    mask = ArrayMask(values)
    if case.mask.function_text is not None:
        twin = to_tokamax(case.mask.make())
        mask.q_sequence, mask.mask_function = twin.q_sequence, twin.mask_function
    return process(mask, case, is_dkv)
