# SPDX-License-Identifier: Apache-2.0
"""splashmask compile: what it makes of its flags, and of masks and arrays that are none."""

import json
import os

import h5py
import numpy as np
import pytest

from command import CAUSAL, compiled, expect_refusal


def test_compile_writes_a_plan_that_the_others_read(run, tmp_path):
    done = run("compile", "[causal() * 2, local(1023, 0)]", "--q-len", "8192", "--block-q", "256",
               "-o", "plan.h5")
    assert done.returncode == 0 and done.stderr == ""
    assert "256 x 512" in done.stdout and "heads 0..1" in done.stdout
    assert "wrote plan.h5" in done.stdout
    with h5py.File(tmp_path / "plan.h5") as file:
        assert file.attrs["format"] == "splashmask"
        digest = file.attrs["plan_digest"]
    assert digest in done.stdout
    inspected = run("inspect", "plan.h5")
    assert inspected.returncode == 0
    assert digest in inspected.stdout and "partial_mask_blocks" in inspected.stdout
    assert "every row attends to something" in inspected.stdout
    shown = run("show", "plan.h5", "--head", "2")
    assert shown.returncode == 0 and "local(1023, 0)\nfwd, head 2 of 3" in shown.stdout
    assert "┤▒▒" in shown.stdout and "\x1b" not in shown.stdout
    assert "30 full (5.9 %), 60 partial (11.7 %), 422 empty (82.4 %)" in shown.stdout
    verified = run("verify", "plan.h5")
    assert verified.returncode == 0
    assert verified.stdout.startswith("ok plan.h5: [causal() * 2, local(1023, 0)] and its tables agree")


def test_without_output_nothing_is_written(run, tmp_path):
    done = run(*CAUSAL)
    assert done.returncode == 0 and "nothing written" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_threads_do_not_change_the_file(run, tmp_path):
    mask = "causal() & stride(3) | local(100, 5)"
    files = [
        (tmp_path / compiled(run, "compile", mask, "--q-len", "4096", "--threads", str(threads),
                             name=f"{threads}.h5")).read_bytes() for threads in (0, 1, 2, 8)
    ]
    assert all(file == files[0] for file in files)


@pytest.mark.parametrize("flags, passes", [
    ([], {"fwd": (512, 512), "dq": (512, 512), "dkv": (512, 512)}),
    (["--block-q", "256", "--block-kv", "128"],
     {"fwd": (256, 128), "dq": (256, 128), "dkv": (256, 128)}),
    (["--block-q-dq", "256", "--block-kv-dkv", "1024"],
     {"fwd": (512, 512), "dq": (256, 512), "dkv": (512, 1024)}),
    (["--passes", "dkv,fwd"], {"fwd": (512, 512), "dkv": (512, 512)}),
    (["--fused-bwd"], {"fwd": (512, 512), "dkv": (512, 512)}),
])
def test_flags_choose_passes_and_blocks(run, flags, passes):
    # The mask comes last: no list of flags may swallow it.
    done = run("compile", *flags, "--q-len", "4096", "--json", "causal()")
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)["passes"]
    assert {name: (p["block_q"], p["block_kv"]) for name, p in got.items()} == passes


def test_flags_reach_the_options(run):
    done = run("compile", "causal()", "--q-len", "4096", "--kv-len", "2048", "--heads", "4",
               "--head-shards", "2", "--q-seq-shards", "4", "--no-downcast", "--no-shrink",
               "--simplify", "--json")
    result = json.loads(done.stdout)
    assert result["options"] == {
        "head_shards": 2, "q_seq_shards": 4, "downcast_smem_data": False, "shrink_grid": False,
        "simplify": True, "use_fused_bwd_kernel": False
    }
    assert (result["q_len"], result["kv_len"], result["num_heads"]) == (4096, 2048, 4)
    assert result["passes"]["fwd"]["tables"]["block_mask"] == {
        "dtype": "int32", "shape": [2, 8, 4], "bytes": 256
    }


def test_simplify_tells_what_it_saved(run):
    flags = ["--q-len", "2048", "--heads", "2", "--passes", "fwd", "--simplify"]
    done = run("compile", "[causal() & local(4096, none), causal()]", *flags)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # The partial blocks of both heads are the same 512 x 512 bits.
    assert lines[:3] == [
        "mask    [causal() & local(4096, none), causal()]", "simple  [causal() * 2]",
        "saved   4 nodes -> 1 node, 1 partial block (32.0 KiB) -> none, computed by the kernel"
    ]
    done = run("compile", "stride(3) & stride(5)", *flags, "--json")
    result = json.loads(done.stdout)
    assert result["mask"] == "[(stride(3) & stride(5)) * 2]"
    assert result["simplified"] == "[stride(15) * 2]"
    before, after = result["savings"]["before"], result["savings"]["after"]
    assert (before["masks"], before["nodes"], after["masks"], after["nodes"]) == (1, 3, 1, 1)
    # Seven distances between two of four blocks, no two of them alike modulo 15.
    assert before["passes"] == {
        "fwd": {"computed": False, "partial_blocks": 7, "partial_bytes": 7 * 512 * 64}
    }
    assert after["passes"] == {"fwd": {"computed": True, "partial_blocks": 0, "partial_bytes": 0}}
    done = run("compile", "documents([1000, 1048])", *flags)
    assert "saved   nothing to save\n" in done.stdout


# --- Rows that attend to nothing.


def test_empty_rows_warn_by_default(run):
    done = run("compile", "[q_range(100, 200), causal(), q_range(1, 512) & kv_range(0, 9)]",
               "--q-len", "512", "-o", "plan.h5")
    assert done.returncode == 0
    assert done.stderr == ("note: 412 rows attend to nothing (head 0): q 0..99, 200..511\n"
                           "1 row attends to nothing (head 2): q 0; JAX's kernel gives NaN or the "
                           "mean of v there\n")
    inspected = run("inspect", "plan.h5").stdout
    assert "412 rows attend to nothing (head 0): q 0..99, 200..511" in inspected
    verified = run("verify", "plan.h5")
    assert verified.returncode == 0
    assert "note: 412 rows attend to nothing (head 0): q 0..99, 200..511\n" in verified.stderr
    assert "note: 503 columns are seen by nothing (head 2): kv 9..511\n" in verified.stderr


def test_empty_rows_error_writes_nothing(run, tmp_path):
    (tmp_path / "plan.h5").write_text("old")
    done = run("compile", "causal(-3)", "--q-len", "512", "--empty-rows", "error", "-o", "plan.h5")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "expected every row to attend to something, got: 3 rows attend to nothing: q 0..2" in done.stderr
    assert (tmp_path / "plan.h5").read_text() == "old"
    assert run("compile", "causal()", "--q-len", "512", "--empty-rows", "error").returncode == 0


def test_empty_rows_allow_says_nothing(run):
    done = run("compile", "empty()", "--q-len", "512", "--empty-rows", "allow", "--json")
    assert done.returncode == 0 and done.stderr == ""
    assert json.loads(done.stdout)["empty_rows"] is None


# --- Masks and arrays that are none: exit 2, a message that names the fragment, nothing written.

# The text, what the message says, and the column it points at.
BAD_MASKS = [
    ("causl()", "unknown mask 'causl': did you mean 'causal'?", 1),
    ("causal() & locl(1, 0)", "unknown mask 'locl': did you mean 'local'?", 12),
    ("causal(ofset=1)", "unknown argument 'ofset' of causal(): did you mean 'offset'?", 8),
    ("causal() & local(1, 0) * 8", "got '*'", 24),
    ("causal(", "got the end of the text", 8),
    ("causal() $", "unexpected character '$'", 10),
    ("", "expected a mask, got the end of the text", 1),
    ("[]", "expected at least one head in the list", 1),
    ("chunked_causal(0)", "expected chunk of at least 1, got 0", 1),
    ("stride(2, 5)", "expected 0 <= phase < step", 1),
    ("documents([600])", "expected document lengths to sum to at most 512", 1),
    ('dense("nowhere.npy")', "nowhere.npy: cannot open the file: No such file or directory", 1),
    ('dense("text.txt")', 'expected "name.npy" or "file.h5:/path", got \'text.txt\'', 1),
]


@pytest.mark.parametrize("mask, text, column", BAD_MASKS)
def test_bad_masks_point_at_the_column(run, tmp_path, mask, text, column):
    (tmp_path / "plan.h5").write_text("old")
    done = run("compile", mask, "--q-len", "512", "-o", "plan.h5")
    expect_refusal(done, text, tmp_path)
    message, shown, caret = done.stderr.splitlines()
    assert message.endswith(f"at column {column}")
    assert shown == "  " + mask and caret == " " * (column + 1) + "^"


TRIANGLE = np.tril(np.ones((512, 512), bool))
IDS = np.zeros(512, "int32")


@pytest.mark.parametrize("array, mask, text", [
    (TRIANGLE.astype("float32"), "dense", "expected bool or integer data, got dtype '<f4'"),
    (TRIANGLE.astype("int32"), "dense", "to be a 2-D bool array, got int32 of shape (512, 512)"),
    (TRIANGLE[0], "dense", "to be a 2-D bool array, got bool of shape (512)"),
    (TRIANGLE[:256], "dense", "to have shape (512, 512), got (256, 512)"),
    (TRIANGLE[None], "dense", "to be a 2-D bool array, got bool of shape (1, 512, 512)"),
    (IDS.astype(">i4"), "segments", "expected little-endian data, got dtype '>i4'"),
    (IDS.astype("float64"), "segments", "expected bool or integer data, got dtype '<f8'"),
    (IDS[:500], "segments", "to have 512 elements, got 500"),
    (IDS.reshape(1, 512), "segments", "to be a 1-D integer array, got int32 of shape (1, 512)"),
    (np.full(512, 2**64 - 1, "uint64"), "segments", "to fit in a signed 64-bit integer"),
    (np.array([None]), "segments", "got Python objects"),
])
def test_bad_arrays(run, tmp_path, array, mask, text):
    (tmp_path / "plan.h5").write_text("old")
    np.save(tmp_path / "array.npy", array)
    expect_refusal(run("compile", f'{mask}("array.npy")', "--q-len", "512", "-o", "plan.h5"), text,
                   tmp_path)


@pytest.mark.parametrize("size, text", [
    (0, "expected a .npy file"),
    (4, "expected a .npy file"),
    (50, "expected a header of 118 bytes, got a file cut short at 50 bytes"),
    (262271, "expected 262144 bytes of data for bool(512, 512), got 262143; the file is cut short"),
])
def test_arrays_cut_short(run, tmp_path, size, text):
    (tmp_path / "plan.h5").write_text("old")
    np.save(tmp_path / "array.npy", TRIANGLE)
    os.truncate(tmp_path / "array.npy", size)
    expect_refusal(run("compile", 'dense("array.npy")', "--q-len", "512", "-o", "plan.h5"), text,
                   tmp_path)
