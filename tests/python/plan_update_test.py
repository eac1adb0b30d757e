# SPDX-License-Identifier: Apache-2.0
"""Plans brought up to date are those of a full compile."""

import numpy as np
import pytest

import splashmask as sm
import splashmask.tokamax as smt

S = (256, 256)
FIELDS = ("data_next", "mask_next", "block_mask", "packed_partial_mask_blocks", "q_sequence")


def assert_same(plan, other):
    for name in ("fwd", "dq", "dkv"):
        a, b = getattr(plan, name), getattr(other, name)
        assert (a is None) == (b is None)
        for field in FIELDS if a is not None else ():
            x, y = getattr(a, field), getattr(b, field)
            assert (x is None) == (y is None), (name, field)
            if x is not None:
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y, err_msg=f"{name} {field}")
    assert plan.mask == other.mask
    assert plan.digests == other.digests


def packed(lengths, shape=S):
    return sm.CausalMask(shape) & sm.documents(shape, lengths)


def test_documents_are_appended():
    plan = sm.compile(packed([100, 60]), block_q=32, block_kv=64)
    now = sm.MultiHeadMask([packed([100, 60, 40])])
    update = plan.update(now)
    assert_same(update.plan, sm.compile(now, block_q=32, block_kv=64))
    assert update.plan.verify() is None
    # Rows 160 to 199.
    assert (update.compiled, update.block_rows) == (2, 8)
    assert update.plan.update(now).compiled == 0


def test_a_longer_sequence_after_a_file(tmp_path):
    sm.compile(packed([100, 60]), block_q=32, block_kv=64, passes=("fwd", "dkv")).save(
        tmp_path / "plan.h5")
    plan = sm.load(tmp_path / "plan.h5")
    longer = packed([100, 60, 130], (320, 320))
    update = plan.update(longer, threads=1)
    assert_same(update.plan, sm.compile(longer, block_q=32, block_kv=64, passes=("fwd", "dkv")))
    assert (update.compiled, update.block_rows) == (5, 10)  # Rows 160 to 289, and new ones.


def test_functions_are_asked_for_new_rows_alone():
    calls = []

    def thirds(q, kv):
        calls.append(q.min())
        return (q + kv) % 3 == 0

    plan = sm.compile(sm.MultiHeadMask([~sm.CustomMask(S, thirds)]), block_q=32, block_kv=32)
    calls.clear()
    longer = ~sm.CustomMask((288, 256), thirds)
    update = plan.update(longer)
    assert (update.compiled, update.block_rows) == (1, 9)
    assert calls and min(calls) >= 256
    whole = sm.compile(longer, block_q=32, block_kv=32)
    np.testing.assert_array_equal(update.plan.fwd.block_mask, whole.fwd.block_mask)


def test_bad_input():
    plan = sm.compile(packed([100]), block_q=32, block_kv=64)
    with pytest.raises(sm.Error, match=r"expected block_q \(32\) to divide q_len \(250\)"):
        plan.update(packed([100], (250, 256)))
    with pytest.raises(sm.Error, match="expected threads"):
        plan.update(packed([100]), threads=-1)
    with pytest.raises(sm.Error, match="expected a MultiHeadMask of shape"):
        plan.update("causal()")
    lists = smt.compile(packed([100]), block_q=32, block_kv=64)
    with pytest.raises(sm.Error, match="expected one mask for all heads beside tokamax lists"):
        lists.update(sm.MultiHeadMask([packed([100]), packed([50])]))
