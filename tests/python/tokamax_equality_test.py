# SPDX-License-Identifier: Apache-2.0
"""Every field equals tokamax's over generated masks."""

import re

import generated
import hypothesis.strategies as st
import numpy as np
import pytest
import tokamax_reference
from comparison import assert_same_array, assert_same_function
from generated import Tally
from mask_cases import MaskBuilder
from mask_generator import RandomMasks, random_grid
from tokamax_reference import TokamaxCase

import splashmask


def _divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def cases(draw, kind):
    source = generated.DrawnSource(draw)
    blocks, block = random_grid(source)
    shape = blocks[0] * block[0], blocks[1] * block[1]
    masks = RandomMasks(source, shape, block, kind)
    return TokamaxCase(
        shape,
        masks.expression(source.choice([0, 0, 1, 2, 3])),
        masks.builder.arrays,
        block,
        q_seq_shards=source.choice(_divisors(blocks[0])),
        kv_seq_shards=source.choice(_divisors(blocks[1])),
        downcast_smem_data=source.integer(0, 2) > 0,
        return_dynamic_grid=source.integer(0, 2) > 0,
        partial_mask_blocks_dtype=source.choice(["int8", "int8", "bool", "int32", "float32"]),
    )


def features(case, is_dkv, info, mask_function):
    """What of tokamax's definition this case met."""
    yield "dkv" if is_dkv else "fwd"
    yield from case.mask.features
    yield "dynamic grid" if case.return_dynamic_grid else "static grid"
    yield "downcast" if case.downcast_smem_data else "int32"
    if case.block[0] != case.block[1]:
        yield "rectangular blocks"
    if case.q_seq_shards > 1:
        yield "q shards"
    if case.kv_seq_shards > 1:
        yield "kv shards"
    if mask_function is not None:
        yield "mask_function"
    if info.block_mask is None:
        yield "all full: None"
        return
    if info.partial_mask_blocks is not None:
        yield "partial blocks"
        if (info.mask_next == -1).any():
            yield "mask_next -1"
    if case.return_dynamic_grid:
        if (info.block_mask == -1).any():
            yield "padding"
        if (info.block_mask == 0).any():
            yield "dummy block"
        if info.block_mask.size == 0:
            yield "no visible block"
    for name in ("active_rows", "active_cols", "mask_next"):
        field = getattr(info, name)
        if field is not None and field.dtype == np.int16:
            yield f"int16 {name}"


def compare(case, tally):
    values = case.values()
    reason = tokamax_reference.why_tokamax_fails(case, values)
    tally.add(reason)
    for is_dkv in (False, True):
        if reason is None:
            mask = tokamax_reference.to_tokamax(case.mask.make())
            want, want_function = tokamax_reference.process(mask, case, is_dkv)
        else:
            if reason == tokamax_reference.OVERFLOW:
                with pytest.raises(OverflowError):
                    mask = tokamax_reference.to_tokamax(case.mask.make())
                    tokamax_reference.process(mask, case, is_dkv)
            want, want_function = tokamax_reference.implied(case, is_dkv, values)
        # From the text, and from tokamax's own mask objects.
        ours = [None] if reason else [None, tokamax_reference.to_tokamax(case.mask.make())]
        for mask in ours:
            got, got_function = tokamax_reference.ours(case, is_dkv, mask)
            assert want._fields == got._fields
            for field in want._fields:
                assert_same_array(field, getattr(want, field), getattr(got, field))
            if reason is None:
                assert_same_function(want_function, got_function, case)
            else:
                assert (want_function is None) == (got_function is None)
        tally.features.update(set(features(case, is_dkv, want, want_function)))


def run(kind, count, name, report):
    tally = generated.run(cases(kind), compare, count)
    for line in tally.lines(name, "tokamax", "tokamax's code over exact cells"):
        report(line)
    assert tally.compared > 0.8 * tally.cases, tally.skipped
    return tally


def test_static_masks_and_compositions(report, examples):
    tally = run("static", examples(2500), "tokamax, static masks", report)
    leaves = ["causal", "local", "chunked_causal", "full", "dense", "operator &", "operator |"]
    grids = ["dynamic grid", "static grid", "downcast", "int32", "rectangular blocks"]
    tally.require(leaves + grids + ["q shards", "kv shards", "mask_function"], 150)
    cases_of_its_own = ["all full: None", "padding", "dummy block", "mask_next -1"]
    tally.require(cases_of_its_own + ["partial blocks", "no visible block"], 15)


def test_reassigned_q_sequence(report, examples):
    tally = run("q_sequence", examples(1000), "tokamax, reassigned q_sequence", report)
    tally.require(["reassigned q_sequence", "q_sequence out of range", "mask_function"], 100)


def test_every_node(report, examples):
    """Masks that tokamax has no class for, handed to it as a class of the user's own."""
    tally = run("every node", examples(1000), "tokamax, every node", report)
    kinds = ["empty", "prefix", "q_range", "kv_range", "stride", "documents", "segments", "blocks"]
    tally.require([f"our {kind}" for kind in kinds + ["reorder", "operator"]], 3)


@pytest.mark.parametrize("blocks", [127, 128, 129, 32767, 32768, 32769])
@pytest.mark.parametrize("axis", ["q", "kv"])
def test_downcast_boundaries(blocks, axis):
    shape = (blocks, 2) if axis == "q" else (2, blocks)
    builder = MaskBuilder(shape)
    rng = np.random.default_rng(0)
    case = TokamaxCase(shape, builder.dense(rng.random(shape) < 0.7), builder.arrays, (1, 1))
    tally = Tally()
    compare(case, tally)
    assert tally.compared == 1


@pytest.mark.parametrize("count", [127, 128, 129, 255, 256, 257])
def test_mask_next_boundaries(count):
    # Block i shows the bits of i + 1.
    array = (np.arange(1, count + 1)[:, None] >> np.arange(10) & 1).astype(bool)
    builder = MaskBuilder(array.shape)
    tally = Tally()
    compare(TokamaxCase(array.shape, builder.dense(array), builder.arrays, (1, 10)), tally)
    assert tally.features["partial blocks"] == 2


@pytest.mark.parametrize(
    ("block", "options", "message"),
    [
        ((7, 4), {}, "block_q (7) to divide q_len (16)"),
        ((4, 7), {}, "block_kv (7) to divide kv_len (12)"),
        ((4, 4), dict(q_seq_shards=3), "q_seq_shards (3) to divide q_len (16)"),
        ((8, 4), dict(q_seq_shards=4), "block_q (8) to divide q_len / q_seq_shards (4)"),
        ((4, 4), dict(kv_seq_shards=5), "kv_seq_shards (5) to divide kv_len (12)"),
        ((4, 6), dict(kv_seq_shards=3), "block_kv (6) to divide kv_len / kv_seq_shards (4)"),
        ((0, 4), {}, "block_q of at least 1, got 0"),
        ((4, 4), dict(kv_seq_shards=0), "kv_seq_shards of at least 1, got 0"),
    ],
)
def test_what_tokamax_refuses(block, options, message):
    builder = MaskBuilder((16, 12))
    case = TokamaxCase((16, 12), builder.causal(), {}, block, **options)
    with pytest.raises((ValueError, ZeroDivisionError)):
        tokamax_reference.process(
            tokamax_reference.to_tokamax(case.mask.make()), case, is_dkv=False
        )
    with pytest.raises(splashmask.Error, match=re.escape("[compile] expected " + message)) as error:
        tokamax_reference.ours(case, is_dkv=False)
    assert error.value.code == "InvalidArgument"


def test_threads_do_not_change_the_result():
    builder = MaskBuilder((96, 96))
    mask = builder.combine("|", builder.local(7, 3), builder.chunked_causal(20))
    case = TokamaxCase((96, 96), mask, {}, (4, 3), q_seq_shards=3, kv_seq_shards=2)
    for is_dkv in (False, True):
        one, two, eight = (
            splashmask._core.process_tokamax_mask(
                tokamax_reference.our_mask(case)._expr, case.block, is_dkv=is_dkv, q_seq_shards=3,
                kv_seq_shards=2, threads=threads)[0]
            for threads in (1, 2, 8)
        )
        for field, values in enumerate(zip(one, two, eight)):
            for other in values[1:]:
                assert_same_array(str(field), values[0], other)
