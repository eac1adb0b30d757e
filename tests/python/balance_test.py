# SPDX-License-Identifier: Apache-2.0
"""splashmask.balance: 50 generated mixes of masks, certified; what its fields mean, against cells."""

import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as jax_masks

import splashmask as sm

MIXES = range(50)
UNEVEN, EVEN = 1.10, 1.02


def document_lengths(rng, total):
    mean, sigma = total * rng.uniform(0.02, 0.12), rng.uniform(0.5, 1.5)
    lengths = []
    while total > 0:
        lengths.append(int(np.clip(rng.lognormal(np.log(mean), sigma), 1, total)))
        total -= lengths[-1]
    return lengths


def pairs_of(mask, rows, kv):
    return np.sum(sm.count(mask, q=rows, kv=kv))


def check_kv_ranges(mask, rows, ranges):
    """Nothing is seen between the ranges, and all of it begins and ends with something seen."""
    edges = [0, *ranges.ravel().tolist(), mask.shape[-1]]
    for begin, end in zip(edges[::2], edges[1::2]):
        assert pairs_of(mask, rows, (begin, end)) == 0
    for begin, end in ranges.tolist():
        assert pairs_of(mask, rows, (begin, begin + 1)) > 0
        assert pairs_of(mask, rows, (end - 1, end)) > 0


class Mix:
    """Packed documents, or local layers and global ones; what they are balanced over."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        length = int(rng.choice([8192, 16384, 32768]))
        shape = (length, length)
        self.block = int(rng.choice([64, 128]))
        self.shards = int(rng.choice([4, 8, 16]))
        packed = sm.documents(shape, document_lengths(rng, length)) & sm.CausalMask(shape)
        local = sm.LocalMask(shape, (int(rng.choice([256, 512, 1024])) - 1, 0), 0)
        kind = seed % 4
        if kind == 0:
            self.masks, self.weights = [packed], [1]
        elif kind == 1:
            self.masks, self.weights = [packed & local, packed], [5, 1]
        elif kind == 2:
            self.masks = [local & sm.CausalMask(shape), packed]
            self.weights = rng.integers(1, 6, 2).tolist()
        else:  # Heads of two kinds in one layer.
            heads = sm.MultiHeadMask([packed & local, packed, packed & local, packed & local])
            self.masks, self.weights = [heads], [1]

    def balance(self, method, unit):
        return sm.balance(self.masks, shards=self.shards, weights=self.weights, method=method,
                          unit=unit, block_q=self.block, block_kv=self.block)


@pytest.mark.parametrize("unit", ["blocks", "pairs"])
def test_lpt_is_even_where_zigzag_is_not(unit, report):
    uneven, worst = 0, 1.0
    for seed in MIXES:
        mix = Mix(seed)
        zigzag, lpt = mix.balance("zigzag", unit), mix.balance("lpt", unit)
        assert lpt.imbalance <= zigzag.imbalance and lpt.imbalance <= lpt.imbalance_before
        if zigzag.imbalance > UNEVEN:
            uneven += 1
            worst = max(worst, lpt.imbalance)
            assert lpt.imbalance <= EVEN, f"seed {seed}: {zigzag}, {lpt}"
    report(f"balance by {unit}: zigzag above {UNEVEN} in {uneven} of {len(MIXES)} mixes, LPT there at "
           f"most {worst:.4f}")
    assert uneven >= 40


@pytest.mark.parametrize("seed", MIXES)
def test_plans_of_reordered_masks_are_proven_and_have_the_work_that_was_promised(seed):
    mix = Mix(seed)
    balance = mix.balance("lpt", ("blocks", "pairs")[seed % 2])
    length = len(balance.permutation)
    np.testing.assert_array_equal(np.sort(balance.permutation), np.arange(length))
    np.testing.assert_array_equal(balance.permutation[balance.inverse], np.arange(length))
    rows = length // mix.shards
    for index, mask in enumerate(mix.masks):
        reordered = balance.reorder(mask)
        plan = sm.compile(reordered, block_q=mix.block, block_kv=mix.block, passes=("fwd",),
                          q_seq_shards=mix.shards)
        assert plan.verify() is None
        for shard in range(mix.shards):
            of_shard = (shard * rows, (shard + 1) * rows)
            assert np.sum(sm.count(reordered, q=of_shard)) == balance.pairs[index, shard]
            check_kv_ranges(reordered, of_shard, balance.kv_ranges[index][shard])
        visited = visited_blocks(plan, mix.shards)
        np.testing.assert_array_equal(visited, balance.blocks[index])
    assert balance.work.tolist() == (
        np.array(mix.weights) @ getattr(balance, balance.unit)).tolist()
    assert balance.imbalance == pytest.approx(balance.work.max() / balance.work.mean())


def visited_blocks(plan, shards):
    """Of each shard, over all heads, from the plan's own table."""
    heads = plan.mask.shape[0]
    table = plan.fwd.block_mask
    visited = np.count_nonzero(table.reshape(len(table), shards, -1), axis=2).sum(0)
    return visited * (heads // len(table))


S = (96, 80)
SMALL = {
    "causal": sm.CausalMask(S, 7),
    "documents": sm.documents(S, [30, 3, 40]) & sm.LocalMask(S, (20, 0), 0),
    "stride": sm.stride(S, 7, 2) - sm.prefix(S, 11),
    "dense": sm.NumpyMask(np.random.default_rng(0).random(S) < 0.03),
    "reordered": sm.zigzag(sm.LocalMask(S, (9, 4), 3), 4),
    "custom": sm.CustomMask(S, lambda q, kv: (q * kv) % 50 == 1),
    "jax_s": jax_masks.CausalMask(S, 3),
}


@pytest.mark.parametrize("method", ["contiguous", "zigzag", "striped", "lpt"])
@pytest.mark.parametrize("mask", SMALL.values(), ids=SMALL)
def test_fields_are_what_the_cells_say(mask, method):
    balance = sm.balance(mask, shards=4, method=method, block_q=8, block_kv=16, threads=2)
    cells = np.asarray(mask[:, :])[balance.permutation]
    of_shards = cells.reshape(4, 24, 80)
    assert balance.pairs.tolist() == [of_shards.sum((1, 2)).tolist()]
    blocks = of_shards.reshape(4, 3, 8, 5, 16).any((2, 4))
    assert balance.blocks.tolist() == [blocks.sum((1, 2)).tolist()]
    assert balance.work.tolist() == balance.blocks[0].tolist()
    np.testing.assert_array_equal(balance.reorder(mask)[:, :], cells)
    for seen, ranges in zip(of_shards.any(1), balance.kv_ranges[0]):
        expected = np.flatnonzero(np.diff(seen, prepend=False, append=False)).reshape(-1, 2)
        np.testing.assert_array_equal(ranges, expected)
        assert ranges.dtype == np.int64


def test_methods_are_those_of_the_layouts():
    mask = sm.CausalMask((64, 64))
    of = {method: sm.balance(mask, shards=4, method=method, block_q=8, block_kv=8)
          for method in ("contiguous", "zigzag", "striped", "lpt")}
    assert of["contiguous"].permutation.tolist() == list(range(64))
    assert of["contiguous"].imbalance == of["contiguous"].imbalance_before == 15 / 9
    assert of["zigzag"].reorder(mask) == sm.zigzag(mask, 4)
    assert of["striped"].reorder(mask) == sm.striped(mask, 4)
    assert str(of["striped"].reorder(mask)) == "reorder(causal(), q=striped(4))"
    assert of["lpt"].imbalance == 1
    assert all(one.permutation.dtype == one.inverse.dtype == np.int32 for one in of.values())
    assert of["lpt"].reorder(mask) == sm.reorder(mask, q=of["lpt"].permutation)
    assert of["lpt"].reorder(mask, kv=True) == sm.reorder(mask, of["lpt"].permutation,
                                                          of["lpt"].permutation)
    assert repr(of["lpt"]) == ("<ShardBalance of 64 q positions over 4 shards: lpt, blocks 1.667 -> "
                               "1.000>")


def test_attention_over_reordered_rows_is_the_same():
    shape, rng = (256, 256), np.random.default_rng(0)
    mask = sm.MultiHeadMask([sm.documents(shape, [20, 200, 36]) & sm.CausalMask(shape)] * 2)
    q, k, v = rng.standard_normal((3, 2, 256, 16)).astype(np.float32)
    blocks = dict(block_q=16, block_kv=32)
    balance = sm.balance(mask, shards=4, **blocks)
    assert balance.permutation.tolist() != list(range(256))
    plan = sm.compile(balance.reorder(mask), q_seq_shards=4, passes=("fwd",), **blocks)
    out = sm.SplashAttention(plan)(q[:, balance.permutation], k, v)
    expected = sm.SplashAttention(sm.compile(mask, passes=("fwd",), **blocks))(q, k, v)
    np.testing.assert_allclose(out[:, balance.inverse], expected, rtol=1e-5, atol=1e-6)


def test_heads_and_weights():
    early, late = sm.q_range((32, 32), 0, 16), sm.q_range((32, 32), 28, 32)
    heads = sm.MultiHeadMask([early, late, early])
    balance = sm.balance([heads, late], shards=2, weights=[1, 3], unit="pairs", block_q=4,
                         block_kv=32)
    assert balance.weights == (1, 3)
    assert balance.pairs.sum(1).tolist() == [2 * 512 + 128, 128]
    assert balance.work.tolist() == (np.array([1, 3]) @ balance.pairs).tolist() == [768, 768]
    reordered = balance.reorder(heads)
    assert isinstance(reordered, sm.MultiHeadMask) and reordered.masks[0] == balance.reorder(early)
    jax_s = jax_masks.MultiHeadMask([jax_masks.CausalMask((32, 32))] * 3)
    assert sm.balance(jax_s, shards=2, block_q=4, block_kv=4).reorder(jax_s).shape == (3, 32, 32)
    assert sm.balance(jax_s, shards=2, block_q=4, block_kv=4).blocks.sum() == 3 * 36


def test_what_cannot_be_balanced():
    mask = sm.CausalMask((64, 64))
    sizes = dict(shards=4, block_q=8, block_kv=8)
    for wrong, text in [
        (dict(shards=3), "got q_len 64, shards 3 and block_q 8"),
        (dict(shards=0), "expected shards of at least 1, got 0"),
        (dict(block_kv=7), r"expected block_kv \(7\) to divide kv_len \(64\): nearest are 4 and 8"),
        (dict(weights=[1, 2]), "expected a weight for each of 1 masks, got 2"),
        (dict(weights=[0]), "expected weights of at least 1, got 0"),
        (dict(method="best"), "expected method contiguous, zigzag, striped or lpt, got 'best'"),
        (dict(unit="cells"), "expected unit blocks or pairs, got 'cells'"),
    ]:
        with pytest.raises(sm.Error, match=r"\[balance\] .*" + text) as error:
            sm.balance(mask, **{**sizes, **wrong})
        assert error.value.code == "InvalidArgument"
    with pytest.raises(sm.Error, match=r"expected zigzag\(n\) with 2n to divide q_len \(64\), got n = 64"):
        sm.balance(mask, shards=64, block_q=1, block_kv=8, method="zigzag")
    with pytest.raises(sm.Error, match=r"\[balance\] expected at least one mask, got none"):
        sm.balance([], **sizes)
    with pytest.raises(sm.Error, match=r"\[balance\] expected masks of one shape \(64 x 64\), got one of "):
        sm.balance([mask, sm.CausalMask((64, 32))], **sizes)
    for wrong in (dict(shards=2.5), dict(weights=3), dict(weights=[1.5])):
        with pytest.raises(TypeError, match=r"\[balance\] expected "):
            sm.balance(mask, **{**sizes, **wrong})
    with pytest.raises(sm.Error):
        sm.balance("causal()", **sizes)
