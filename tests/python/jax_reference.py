# SPDX-License-Identifier: Apache-2.0
"""JAX's answer to a case, and the inputs on which JAX itself has none."""

import unittest.mock

import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info
from mask_cases import ExternalMask

# Why JAX has no answer, and what it does instead.
OVERFLOW = "a parameter that the dtype of the positions cannot hold: OverflowError"
WRAP = "arithmetic that wraps in the dtype of the positions: wrong cells"
EMPTY_SHARD = "shrinking a q shard without any visible block: AssertionError"
NO_PARTIAL_BLOCK = "shrinking several q shards without any partial block: ValueError"
_RAISES = {OVERFLOW: OverflowError, EMPTY_SHARD: AssertionError, NO_PARTIAL_BLOCK: ValueError}


def process(mask, case, is_dkv):
    """JAX's (MaskInfo, mask_function), never from its cache."""
    function = jax_info.process_mask_dkv if is_dkv else jax_info.process_mask
    return function.func.__wrapped__(mask, case.block, is_dkv=is_dkv, **case.options())


def _whole(mask):
    q_len, kv_len = mask.shape
    return np.broadcast_to(mask[slice(0, q_len), slice(0, kv_len)], mask.shape)


def _block_classes(values, block):
    """(some cell visible, every cell visible) of each block, bool[q_blocks, kv_blocks]."""
    q_blocks, kv_blocks = values.shape[0] // block[0], values.shape[1] // block[1]
    tiles = values.reshape(q_blocks, block[0], kv_blocks, block[1])
    return tiles.any((1, 3)), tiles.all((1, 3))


def why_jax_fails(case, values):
    """One of the reasons above, or None when JAX answers. Asserts that masks agree otherwise."""
    hazards = frozenset().union(*(head.hazards for head in case.heads))
    if "overflow" in hazards:
        return OVERFLOW
    heads = {head.text: head for head in case.heads}.values()
    wrong = [head for head in heads if not np.array_equal(_whole(head.make()), values[head.text])]
    if wrong:
        assert all("wrap" in head.hazards for head in wrong), [head.text for head in wrong]
        return WRAP
    if case.shrink_grid and len(set(case.jax_mask().masks)) == 1:
        some, every = _block_classes(values[case.heads[0].text], case.block)
        if not all(shard.any() for shard in np.split(some, case.q_seq_shards)):
            return EMPTY_SHARD
        if case.q_seq_shards > 1 and np.array_equal(some, every):
            return NO_PARTIAL_BLOCK
    return None


def assert_jax_fails(case, is_dkv, reason):
    if reason == WRAP:
        return  # why_jax_fails has seen the wrong cells.
    try:
        process(case.jax_mask(), case, is_dkv)
    except _RAISES[reason]:
        return
    raise AssertionError(f"expected JAX to fail: {reason}")


class _NumpyThatConcatenatesNothing:
    """NumPy, but nothing at all concatenates to None: JAX's mask_next without partial blocks."""

    def __getattr__(self, name):
        return getattr(np, name)

    def concatenate(self, arrays, axis=0):
        return np.concatenate(arrays, axis=axis) if arrays else None


def implied(case, is_dkv, values):
    """What JAX's definition implies where JAX fails: its own code over exact cells.

    Returns None for an empty shard, where JAX's code has no answer to repair.
    """
    exact = {}  # Keyed by JAX's masks, which are equal where JAX says so.
    for head, jax_mask in zip(case.heads, case.jax_mask().masks):
        mask = exact.setdefault(jax_mask, ExternalMask(head.text, values[head.text]))
        if head.function_text is not None and not hasattr(mask, "q_sequence"):
            mask.q_sequence = jax_mask.q_sequence
            mask.mask_function = jax_mask.mask_function
    mask = jax_masks.MultiHeadMask([exact[jax_mask] for jax_mask in case.jax_mask().masks])
    with unittest.mock.patch.object(jax_info, "np", _NumpyThatConcatenatesNothing()):
        try:
            return process(mask, case, is_dkv)
        except AssertionError:
            return None
