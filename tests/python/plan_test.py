# SPDX-License-Identifier: Apache-2.0
"""Plans: compiled, saved, loaded, verified, shown."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from comparison import assert_same_array, assert_same_info

import splashmask as sm

MASK = sm.MultiHeadMask([sm.CausalMask((256, 256)), sm.LocalMask((256, 256), (31, 0), 0)])


def test_passes_are_process_mask_s():
    plan = sm.compile(MASK, block_q=16, block_kv=32, block_q_dkv=64, head_shards=2, q_seq_shards=2)
    options = dict(head_shards=2, q_seq_shards=2)
    for got, process, block in [(plan.fwd, sm.process_mask, (16, 32)),
                                (plan.dq, sm.process_mask, (16, 32)),
                                (plan.dkv, sm.process_mask_dkv, (64, 32))]:
        want, function = process(MASK, block, **options)
        assert got.block_shape == block and got.mask_function == function
        assert_same_info(want, got.mask_info)
        packed = np.packbits(want.partial_mask_blocks, axis=-1, bitorder="little")
        assert_same_array("packed", packed, got.packed_partial_mask_blocks)
        assert not got.data_next.flags.writeable
    assert plan.head_shards == 2 and plan.shrink_grid is True
    assert repr(plan).endswith("fwd 16 x 32, dq 16 x 32, dkv 64 x 32>")


def test_chosen_passes():
    plan = sm.compile(sm.CausalMask((64, 64)), block_q=16, block_kv=16, passes=("dkv",))
    assert plan.fwd is None and plan.dq is None and plan.dkv is not None
    fused = sm.compile(MASK, block_q=16, block_kv=16, use_fused_bwd_kernel=True)
    assert fused.dq is None and fused.dkv.data_next.shape == (2, 16, 16)


def test_saved_and_loaded(tmp_path):
    mask = sm.MultiHeadMask([sm.NumpyMask(np.tri(64, dtype=bool)), sm.segments(np.arange(64) // 9)])
    plan = sm.compile(mask, block_q=16, block_kv=8)
    plan.save(tmp_path / "plan.h5")
    again = sm.load(str(tmp_path / "plan.h5"))
    assert again.mask == mask and again.digests == plan.digests and again.verify() is None
    for name in ("fwd", "dq", "dkv"):
        assert_same_info(getattr(plan, name).mask_info, getattr(again, name).mask_info)
    assert sorted(plan.digests) == ["content_digest", "mask_digest", "plan_digest"]


def test_verify_names_what_is_wrong(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "plan.h5"
    sm.compile(MASK, block_q=16, block_kv=16).save(path)
    with h5py.File(path, "r+") as file:
        file["fwd/block_mask"][1, 3, 2] = 3
    with pytest.raises(sm.Error, match="seal is broken") as caught:
        sm.load(path)
    assert caught.value.code == "Damaged"


def test_show():
    picture = sm.compile(MASK, block_q=16, block_kv=16).show("dkv", 1, width=60)
    assert "▒" in picture and max(map(len, picture.splitlines())) <= 60


@pytest.mark.parametrize("options, text", [
    (dict(block_q=48), "block_q (48) to divide q_len (256): nearest are 32 and 64"),
    (dict(passes=("fwd", "bwd")), "passes out of"),
    (dict(passes="fwd"), "passes out of"),
    (dict(passes=()), "passes out of"),
    (dict(use_fused_bwd_kernel=True, block_q_dq=64), "no dq sizes"),
    (dict(threads=-1), "threads of at least 0"),
])
def test_bad_options(options, text):
    with pytest.raises(sm.Error) as caught:
        sm.compile(MASK, **{"block_q": 16, "block_kv": 16, **options})
    assert text in str(caught.value)


def test_files_that_cannot_be(tmp_path):
    with pytest.raises(sm.Error) as caught:
        sm.load(tmp_path / "none.h5")
    assert caught.value.code == "NotFound"
    (tmp_path / "text.h5").write_text("not a plan")
    with pytest.raises(sm.Error) as caught:
        sm.load(tmp_path / "text.h5")
    assert caught.value.code == "NotAPlan"
    plan = sm.compile(MASK, block_q=16, block_kv=16)
    with pytest.raises(sm.Error) as caught:
        plan.save(tmp_path / "nowhere" / "plan.h5")
    assert caught.value.code == "Io"
    with pytest.raises(sm.Error, match="a pass fwd, dq, dkv, tokamax"):
        plan.show("bwd")
    with pytest.raises(sm.Error, match="head"):
        plan.show(head=2)


def test_ctrl_c_ends_long_work():
    program = """
import os, signal, threading, splashmask as sm
signal.signal(signal.SIGINT, signal.default_int_handler)
once = threading.Lock()  # Another signal might come while Python prints what came of the first.
def function(q, kv):
    if once.acquire(blocking=False):
        os.kill(os.getpid(), signal.SIGINT)
    return q >= kv
masks = [sm.CustomMask((4096, 4096), function), sm.FullMask((4096, 4096)), sm.empty((4096, 4096))]
sm.process_mask(sm.MultiHeadMask(masks * 2), (8, 8))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
