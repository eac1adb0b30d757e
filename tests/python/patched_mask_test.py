# SPDX-License-Identifier: Apache-2.0
"""JAX's process_mask under patched(), as unchanged code calls it, beside itself: the situations that
JAX's own tests of masks name, with lazy masks and with the same masks as arrays."""

import numpy as np
import pytest
from comparison import assert_same_info
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as mask_info
from untouched import untouched

import splashmask.jax as smj

SQUARE, WIDE, TALL = (64, 64), (64, 128), (128, 64)


def causal(shape, offset=0):
    return masks.CausalMask(shape, offset)


def local(shape, left, right, offset=0):
    return masks.LocalMask(shape, (left, right), offset)


# Heads of each situation, and the options.
SITUATIONS = {
    "full": ([masks.FullMask(SQUARE)] * 2, {}),
    "no_partial_blocks_but_the_last": ([causal(SQUARE, 56)], {}),
    "two_causal": ([causal(SQUARE)] * 2, {}),
    "causal_and_full": ([causal(SQUARE), masks.FullMask(SQUARE)], {}),
    "wide_causal": ([causal(WIDE)], {}),
    "tall_causal": ([causal(TALL)], {}),
    "tall_causal_behind": ([causal(TALL, -30)], {}),
    "local": ([local(SQUARE, 17, 9)], {}),
    "local_narrow": ([local(SQUARE, 0, 0)], {}),
    "local_unbounded": ([local(SQUARE, None, 3), local(SQUARE, 5, None, -4)], {}),
    "chunked_causal": ([masks.ChunkedCausalMask(SQUARE, 24)], {}),
    "union_and_intersection": ([causal(SQUARE) & local(SQUARE, 20, None) | local(SQUARE, 0, 3, 30),
                                causal(SQUARE)], {}),
    "head_shards_causal_local": ([causal(SQUARE), local(SQUARE, 12, 0)], dict(head_shards=2)),
    "head_shards_two_and_two": ([causal(SQUARE)] * 2 + [local(SQUARE, 12, 0)] * 2,
                                dict(head_shards=2)),
    "q_shards_causal_local": ([causal(SQUARE), local(SQUARE, 12, 0)], dict(q_seq_shards=2)),
    "q_shards_stacked": ([causal(SQUARE), local(SQUARE, 12, 0)], dict(head_shards=2,
                                                                      q_seq_shards=2)),
    "q_shards_wide_and_narrow": ([local(SQUARE, 40, 2), local(SQUARE, 3, 0)], dict(q_seq_shards=4)),
    "not_downcast": ([causal(SQUARE), local(SQUARE, 12, 0)], dict(downcast_smem_data=False)),
    "not_shrunk": ([causal(SQUARE)], dict(shrink_grid=False)),
}


def as_arrays(heads):
    arrays = {}  # Equal masks stay one.
    for head in heads:
        q_len, kv_len = head.shape
        arrays.setdefault(head, masks.NumpyMask(np.ascontiguousarray(head[:q_len, :kv_len])))
    return [arrays[head] for head in heads]


@pytest.mark.parametrize("is_dkv", [False, True], ids=["fwd", "dkv"])
@pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "dense"])
@pytest.mark.parametrize("name", SITUATIONS)
def test_same_tables(name, lazy, is_dkv):
    heads, options = SITUATIONS[name]
    mask = masks.MultiHeadMask(heads if lazy else as_arrays(heads))

    def process():
        function = mask_info.process_mask_dkv if is_dkv else mask_info.process_mask
        return function(mask, (8, 16), **options)

    want, want_function = process()

    with untouched(mask_info), smj.patched():
        got, function = process()
    assert type(got) is mask_info.MaskInfo
    assert_same_info(want, got)
    assert (function is None) == (want_function is None)
    if function is not None:
        q, kv = np.arange(200)[:, None] - 50, np.arange(200)[None] - 50
        np.testing.assert_array_equal(np.broadcast_to(want_function(q, kv), (200, 200)),
                                      function(q, kv))


@pytest.mark.parametrize("block, options, error", [
    ((7, 16), {}, ValueError),
    ((8, 7), {}, ValueError),
    ((8, 16), dict(head_shards=3), ValueError),
    ((8, 16), dict(q_seq_shards=3), ValueError),
])
def test_same_refusals(block, options, error):
    mask = masks.MultiHeadMask([causal(SQUARE)] * 2)
    with pytest.raises(error):
        mask_info.process_mask(mask, block, **options)
    with untouched(mask_info), smj.patched(), pytest.raises(error):
        mask_info.process_mask(mask, block, **options)
