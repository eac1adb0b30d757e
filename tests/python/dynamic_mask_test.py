# SPDX-License-Identifier: Apache-2.0
"""Masks known only at run time: every field equals JAX's process_dynamic_mask."""

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_same_info
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info

import splashmask


def compare(mask, block, **options):
    for is_dkv in (False, True):
        function = jax_info.process_dynamic_mask_dkv if is_dkv else jax_info.process_dynamic_mask
        want, mask_function = function(jnp.asarray(mask), block, **options)
        assert mask_function is None
        ours = splashmask.process_dynamic_mask_dkv if is_dkv else splashmask.process_dynamic_mask
        got, mask_function = ours(mask, block, **options)
        assert mask_function is None
        assert_same_info(want, got)


# (heads, q blocks, kv blocks), block, head_shards, q_seq_shards, downcast_smem_data.
# Only a few, as XLA compiles JAX's operations anew for each.
_GRIDS = [
    ((1, 1, 1), (1, 1), 1, 1, True),
    ((1, 3, 5), (2, 3), 1, 3, True),
    ((2, 4, 3), (3, 7), 2, 1, False),
    ((3, 2, 2), (8, 8), 1, 2, True),
    ((4, 4, 4), (4, 5), 2, 2, True),
    ((2, 6, 2), (1, 9), 1, 3, False),
    ((1, 2, 2), (33, 65), 1, 1, True),
    ((8, 2, 3), (5, 16), 4, 2, True),
    ((2, 9, 7), (2, 1), 2, 1, True),
]


def test_random_masks(report, examples):
    compared = 0

    @hypothesis.settings(max_examples=examples(300), phases=[hypothesis.Phase.generate])
    @hypothesis.given(
        st.sampled_from(_GRIDS),
        st.sampled_from(["random", "blocks", "constant"]),
        st.integers(0, 2**32 - 1),
    )
    def check(grid, style, seed):
        nonlocal compared
        (heads, q_blocks, kv_blocks), block, head_shards, q_seq_shards, downcast = grid
        block_q, block_kv = block
        rng = np.random.default_rng(seed)
        tiles = rng.random((heads, q_blocks, kv_blocks, block_q, block_kv)) < rng.random()
        if style != "random":
            classes = rng.integers(3, size=tiles.shape[:3] if style == "blocks" else (1, 1, 1))
            classes = classes[..., None, None]
            tiles = np.where(classes == 0, False, np.where(classes == 2, True, tiles))
        mask = tiles.swapaxes(2, 3).reshape(heads, q_blocks * block_q, kv_blocks * block_kv)
        compare(
            np.ascontiguousarray(mask),
            block,
            head_shards=head_shards,
            q_seq_shards=q_seq_shards,
            downcast_smem_data=downcast,
        )
        compared += 1

    check()
    report(f"dynamic masks: {compared} compared with JAX, fwd and dkv each")
    assert compared >= examples(300)


@pytest.mark.parametrize("count", [127, 128, 32767, 32768])
def test_dtypes_follow_the_number_of_blocks(count):
    """JAX downcasts by the number of blocks, visible or not."""
    mask = np.zeros((1, 1, count), bool)
    mask[0, 0, 3] = True
    compare(mask, (1, 1))
    compare(mask.swapaxes(1, 2).copy(), (1, 1))
