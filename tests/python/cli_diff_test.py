# SPDX-License-Identifier: Apache-2.0
"""splashmask diff and splashmask explain from outside."""

import json
import signal
import subprocess

import numpy as np
import pytest

from command import BINARY, compiled, in_terminal


@pytest.fixture
def plans(run, tmp_path):
    """a.h5 and b.h5 differ in head 2 alone; m.npy is the mask there."""
    dense = np.random.default_rng(0).random((64, 64)) < 0.5
    np.save(tmp_path / "m.npy", dense)
    for name, last in [("a.h5", "causal()"), ("b.h5", 'dense("m.npy")')]:
        compiled(run, "compile", f"[causal() * 2, {last}]", "--q-len", "64", "--block-q", "16",
                 "--block-kv", "32", "--empty-rows", "allow", name=name)
    return dense


def test_diff_of_plans(run, plans):
    differs = np.tri(64, dtype=bool) != plans
    q, kv = np.argwhere(differs)[0]
    done = run("diff", "a.h5", "b.h5")
    assert done.returncode == 1 and done.stderr == ""
    states = ["attends", "masked"] if q >= kv else ["masked", "attends"]
    assert done.stdout.splitlines()[2:] == [
        "shape  64 q x 64 kv, 3 heads", "equal in heads 0..1",
        f"{differs.sum():,} pairs ({100 * differs.mean():.1f} %) differ in head 2, first q {q}, kv {kv}: "
        f"{states[0]} in A, {states[1]} in B"
    ]
    got = json.loads(run("diff", "a.h5", "b.h5", "--json").stdout)
    assert set(got) == {"equal", "a", "b", "q_len", "kv_len", "num_heads", "differences", "seconds"}
    assert got["equal"] is False and got["a"]["file"] == "a.h5"
    assert got["differences"] == [
        {"heads": [0, 1], "equal": True, "pairs": 0, "share": 0, "first": None},
        {"heads": [2], "equal": False, "pairs": differs.sum(), "share": differs.mean(),
         "first": {"q": q, "kv": kv, "a": bool(q >= kv), "b": not q >= kv}}
    ]
    same = run("diff", "a.h5", "a.h5")
    assert same.returncode == 0 and same.stdout.endswith("equal in all 3 heads\n")


def test_diff_of_texts(run, plans):
    assert run("diff", "causal()", "local(none, 0)", "--q-len", "1048576").returncode == 0
    assert run("diff", "a.h5", "local(none, 0)").returncode == 0
    assert run("diff", "local(none, 0)", "a.h5").returncode == 0
    assert run("diff", "[causal() * 2, dense(\"m.npy\")]", "b.h5").returncode == 0
    assert run("diff", "causal()", "[causal(), local(none, 0)]", "--q-len", "9").returncode == 0
    assert run("diff", "[causal(), local(none, 0)]", "causal()", "--q-len", "9").returncode == 0
    one = run("diff", "causal()", "causal() ^ (q_range(5, 6) & kv_range(3, 4))", "--q-len", "1048576")
    assert one.returncode == 1
    assert one.stdout.endswith(
        "1 pair (0.1 %) differs in the one head, first q 5, kv 3: attends in A, masked in B\n")
    wide = run("diff", "causal()", "full()", "--q-len", "8", "--kv-len", "10", "--heads", "3", "--json")
    got = json.loads(wide.stdout)
    assert (got["kv_len"], got["num_heads"], got["a"]["file"]) == (10, 3, None)
    assert [d["pairs"] for d in got["differences"]] == [80 - 36]


def test_explain_a_plan(run, plans):
    value = bool(plans[40, 12])
    done = run("explain", "b.h5", "--head", "2", "--q", "40", "--kv", "12")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == f"head 2, q 40, kv 12: {'attends' if value else 'masked'}"
    assert lines[1].startswith('  dense("sha256:')
    assert lines[1].endswith(f"[40, 12] = {str(value).lower()}  <- decides")
    assert lines[2:] == [f"{name} block (2, 0): partial" for name in ("fwd", "dq", "dkv")]
    got = json.loads(run("explain", "a.h5", "--q", "40", "--kv", "63", "--json").stdout)
    assert set(got) == {"file", "mask", "head", "q", "kv", "attends", "deciding", "parts", "blocks"}
    assert got["attends"] is False and got["head"] == 0 and got["mask"] == "causal()"
    assert got["blocks"]["dkv"] == {"q": 2, "kv": 1, "class": "partial"}
    assert got["parts"] == got["deciding"] == [
        {"depth": 0, "part": "causal()", "q": 40, "kv": 63, "value": False, "decides": True,
         "reason": "40 >= 63 is false"}
    ]


def test_explain_a_text(run):
    done = run("explain", "causal() & ~prefix(128)", "--q-len", "4096", "--q", "700", "--kv", "2000")
    assert done.returncode == 0
    assert done.stdout == """head 0, q 700, kv 2000: masked
  causal() & ~prefix(128)  false
    causal()               false  700 >= 2000 is false  <- decides
    ~prefix(128)           true
      prefix(128)          false  2000 < 128 is false
"""
    assert json.loads(run("explain", "causal()", "--q-len", "9", "--q", "0", "--kv", "0",
                          "--json").stdout)["blocks"] == {}


@pytest.mark.parametrize("arguments, message", [
    (["diff", "a.h5"], "B is required"),
    (["diff", "a.h5", "nowhere.h5"], "nowhere.h5: cannot open the file"),
    (["diff", "a.h5", "causal"],
     "expected a plan file, or a mask's text such as causal(), got 'causal', which is no file"),
    (["diff", "a.h5", "a.h5", "--q-len", "64"], "got two plans, which have their own"),
    (["diff", "causal()", "full()"], "expected --q-len beside a mask's text, got causal() alone"),
    (["diff", "causal(", "a.h5"], "at column 8"),
    (["diff", "a.h5", "causal()", "--q-len", "32"],
     "got (64, 64) with 3 heads and (32, 32) with 3 heads"),
    (["diff", "[causal() * 2]", "a.h5"], "expected 3 heads, but the list has 2"),
    (["diff", "[causal() * 2]", "[causal() * 3]", "--q-len", "8"],
     "got (8, 8) with 2 heads and (8, 8) with 3 heads"),
    (["diff", 'dense("nowhere.npy")', "a.h5"], "nowhere.npy: cannot open the file"),
    (["diff", "m.npy", "a.h5"], "expected a splashmask plan file"),
    (["diff", "full()", "causal()", "--q-len", "9223372036854775807"], "cells than 64 bits count"),
    (["explain", "a.h5", "--q", "64", "--kv", "0"], "[explain] expected q in 0..63, got 64"),
    (["explain", "a.h5", "--q", "0", "--kv", "64"], "[explain] expected kv in 0..63, got 64"),
    (["explain", "a.h5", "--q", "0", "--kv", "-1"], "--kv: expected at least 0, got -1"),
    (["explain", "a.h5", "--q", "0", "--kv", "0", "--head", "3"],
     "[explain] expected a head in 0..2, got 3"),
    (["explain", "a.h5", "--q", "0"], "--kv is required"),
    (["explain", "a.h5", "--q", "0", "--kv", "0", "--q-len", "64"], "got a plan, which has its own"),
    (["explain", "causal()", "--q", "0", "--kv", "0"], "expected --q-len beside a mask's text"),
    (["explain", "nowhere.h5", "--q", "0", "--kv", "0"], "nowhere.h5: cannot open the file"),
])
def test_what_cannot_be_used(run, plans, arguments, message):
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr


def test_a_damaged_plan(run, plans, tmp_path):
    content = bytearray((tmp_path / "b.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "b.h5").write_bytes(content)
    for arguments in (["diff", "a.h5", "b.h5"], ["explain", "b.h5", "--q", "0", "--kv", "0"]):
        done = run(*arguments)
        assert done.returncode == 3 and done.stdout == "" and "seal" in done.stderr


def test_progress_and_ctrl_c(tmp_path):
    masks = ["stride(3) & causal()", "stride(5) | prefix(9)"]
    code, output, errors = in_terminal(["diff", *masks, "--q-len", "524288"], tmp_path,
                                       interrupt_at="diff ")
    assert code == 130 and output == ""
    assert errors.endswith("splashmask: interrupted\r\n")


def test_ctrl_c_ends_the_check_of_a_predicate():
    cells = 'where("(q // 5 + kv) % (q + 2) == 0 or q // ((q // 5 + kv) % (q + 2)) > 3")'
    process = subprocess.Popen([BINARY, "explain", cells, "--q", "0", "--kv", "0", "--q-len",
                                "131072"], stderr=subprocess.PIPE, text=True)
    used = 0
    while used < 20:  # Hundredths of a second that it has worked.
        used = int(open(f"/proc/{process.pid}/stat").read().rsplit(")")[1].split()[11])
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "splashmask: interrupted\n"
    assert process.returncode == 130
