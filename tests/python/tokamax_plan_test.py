# SPDX-License-Identifier: Apache-2.0
"""Plans in tokamax's dialect: compiled, saved, loaded, verified."""

import numpy as np
import pytest
from comparison import assert_same_array

import splashmask as sm

pytest.importorskip("tokamax")
import splashmask.tokamax as smt  # noqa: E402

LISTS = ("mask_next", "active_rows", "active_cols", "block_mask", "num_active_blocks", "q_sequence")


def assert_same_pass(want, function, got):
    for name in LISTS:
        assert (getattr(want, name) is None) == (getattr(got, name) is None), name
        if getattr(want, name) is not None:
            assert_same_array(name, getattr(want, name), getattr(got, name))
    assert (want.partial_mask_blocks is None) == (got.partial_mask_blocks is None)
    if want.partial_mask_blocks is not None:
        assert_same_array("bits", want.partial_mask_blocks.astype(bool), got.partial_mask_blocks)
    assert got.mask_function == function


@pytest.mark.parametrize("mask", [
    sm.CausalMask((64, 64)),
    sm.NumpyMask(np.tri(64, dtype=bool)),
    sm.FullMask((64, 64)),
    sm.CausalMask((64, 64)) & sm.LocalMask((64, 64), (9, 0), 0),
], ids=str)
def test_compiled_saved_and_loaded(tmp_path, mask):
    plan = smt.compile(mask, block_q=8, block_kv=16, block_q_dkv=16, q_seq_shards=2,
                       return_dynamic_grid_dkv=False)
    plan.save(tmp_path / "plan.h5")
    again = sm.load(tmp_path / "plan.h5")
    fwd = smt.process_mask(mask, (8, 16), q_seq_shards=2)
    dkv = smt.process_mask_dkv(mask, (16, 16), q_seq_shards=2, return_dynamic_grid=False)
    for one in (plan, again):
        assert_same_pass(*fwd, one.tokamax_fwd)
        assert_same_pass(*dkv, one.tokamax_dkv)
        assert one.tokamax_dkv.block_shape == (16, 16) and one.tokamax_fwd.q_seq_shards == 2
        assert one.tokamax_dkv.return_dynamic_grid is False
        assert one.fwd is None and one.dq is None and one.dkv is None
        assert one.verify() is None
    assert again.mask == plan.mask and again.digests == plan.digests
    assert repr(again).endswith("tokamax/fwd 8 x 16, tokamax/dkv 16 x 16>")


def test_pictures():
    mask = sm.CausalMask((64, 64))
    expected = sm.compile(mask, block_q=8, block_kv=16)
    plan = smt.compile(mask, block_q=8, block_kv=16, q_seq_shards=2, kv_seq_shards=2)
    for name in ("fwd", "dkv"):
        assert plan.show(f"tokamax/{name}", width=60) == expected.show(name, width=60)
    for name, text in [("fwd", "with the pass fwd, got one with tokamax/fwd, tokamax/dkv"),
                       ("tokamax/dq", "expected a pass fwd, dq, dkv, tokamax/fwd or tokamax/dkv")]:
        with pytest.raises(sm.Error, match=text):
            plan.show(name)


def test_simplify_is_stored(tmp_path):
    mask = sm.CausalMask((64, 64)) & sm.LocalMask((64, 64), (9, 0), 0)
    plan = smt.compile(mask, block_q=8, block_kv=16, simplify=True)
    plan.save(tmp_path / "plan.h5")
    for one in (plan, sm.load(tmp_path / "plan.h5")):
        for tables in (one.tokamax_fwd, one.tokamax_dkv):
            assert tables.simplify and tables.partial_mask_blocks is None
            assert str(tables.mask_function) == "local(9, 0)"
        assert one.verify() is None


def test_chosen_passes():
    plan = smt.compile(sm.CausalMask((64, 64)), block_q=16, block_kv=16, passes=("dkv",))
    assert plan.tokamax_fwd is None and plan.tokamax_dkv is not None


def test_custom_functions_are_stored_as_their_cells(tmp_path):
    plan = smt.compile(sm.CustomMask((64, 64), lambda q, kv: q >= kv), block_q=16, block_kv=16)
    with pytest.warns(UserWarning, match="cannot be stored"):
        plan.save(tmp_path / "plan.h5")
    again = sm.load(tmp_path / "plan.h5")
    assert_same_pass(*smt.process_mask(sm.NumpyMask(np.tri(64, dtype=bool)), (16, 16)),
                     again.tokamax_fwd)


@pytest.mark.parametrize("options, text", [
    (dict(block_q=48), "block_q (48)"),
    (dict(passes=("dq",)), "passes out of"),
    (dict(passes="fwd"), "passes out of"),
    (dict(kv_seq_shards=3), "kv_seq_shards"),
    (dict(threads=-1), "threads of at least 0"),
])
def test_bad_options(options, text):
    with pytest.raises(sm.Error) as caught:
        smt.compile(sm.CausalMask((64, 64)), **{"block_q": 16, "block_kv": 16, **options})
    assert text in str(caught.value)


def test_several_masks_are_refused():
    with pytest.raises(sm.Error, match="expected a mask of shape"):
        smt.compile(sm.MultiHeadMask([sm.CausalMask((64, 64))] * 2))
