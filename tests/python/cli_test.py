# SPDX-License-Identifier: Apache-2.0
"""The splashmask command from outside: help, JSON and bad arguments, of every command."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from command import BINARY, CAUSAL, compiled, expect_refusal

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_version(run):
    done = run("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"splashmask \d+\.\d+\.\d+\n", done.stdout)


def test_examples_in_help_work(run, tmp_path):
    np.save(tmp_path / "ids.npy", np.repeat(np.arange(4, dtype="int32"), 4096))
    for name in "qkv":
        np.save(tmp_path / f"{name}.npy", np.ones((2, 2048, 16), "float32"))
    (tmp_path / "splashmask").symlink_to(BINARY)
    (tmp_path / "less").symlink_to(shutil.which("cat"))
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    seen = 0
    for command in ["compile", "diff", "explain", "inspect", "plan", "run", "show", "verify", ""]:
        if command == "verify":
            shutil.copy(tmp_path / "llama.h5", tmp_path / "edited.h5")
        text = run(*command.split(), "--help").stdout
        assert "--help" in text
        for line in re.findall(r"^  (splashmask .*)$", text, re.MULTILINE):
            done = subprocess.run(line.replace("less -R", "less"), shell=True, cwd=tmp_path,
                                  env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            assert done.stdout
            seen += 1
    assert seen >= 10


def test_inspect_counts_pairs(run):
    compiled(run, "compile", "[causal() * 2, local(9, 0), full()]", "--q-len", "512")
    assert "pairs" not in run("inspect", "plan.h5").stdout
    assert "visible_pairs" not in json.loads(run("inspect", "plan.h5", "--json").stdout)
    counted = json.loads(run("inspect", "plan.h5", "--count", "--json").stdout)["visible_pairs"]
    assert counted == [512 * 513 // 2, 512 * 513 // 2, 10 * 512 - 45, 512 * 512]
    text = run("inspect", "plan.h5", "--count").stdout
    assert text.endswith("5,075 pairs (1.9 %) in head 2\n131,328 pairs (50.1 %) in heads 0..1\n"
                         "262,144 pairs (100 %) in head 3\n"), text


# --- JSON, as docs/cli.md lists it.

PLAN_KEYS = {"mask", "q_len", "kv_len", "num_heads", "options", "passes", "tokamax"}
COUNTS = {"empty", "partial", "full", "density"}


def test_json_keys(run):
    done = run("compile", "q_range(5, 4096)", "--q-len", "4096", "-o", "plan.h5", "--json")
    result = json.loads(done.stdout)
    assert set(result) == PLAN_KEYS | {"digests", "empty_rows", "file", "file_bytes", "simplified",
                                       "savings", "seconds"}
    assert result["simplified"] is None and result["savings"] is None
    fwd = result["passes"]["fwd"]
    assert set(fwd) == {"block_q", "block_kv", "tables", "mask_function", "blocks", "blocks_by_head"}
    assert set(fwd["blocks"]) == COUNTS
    assert set(fwd["blocks_by_head"][0]) == COUNTS | {"heads"}
    assert set(result["digests"]) == {"mask", "plan", "content"}
    assert result["empty_rows"] == [{"heads": [0], "count": 5, "ranges": [[0, 5]]}]

    inspected = json.loads(run("inspect", "plan.h5", "--json").stdout)
    assert set(inspected) == PLAN_KEYS | {
        "digests", "empty_rows", "file", "file_bytes", "format_version", "created_with", "seal"
    }
    for key in PLAN_KEYS | {"digests", "empty_rows", "file", "file_bytes"}:
        assert inspected[key] == result[key], key
    assert inspected["seal"] == "valid"

    shown = json.loads(run("show", "plan.h5", "--pass", "dkv", "--json").stdout)
    assert set(shown) == {"file", "pass", "head", "mask", "block_q", "block_kv", "blocks", "rows"}
    assert shown["rows"] == ["1" * 8] + ["2" * 8] * 7

    verified = json.loads(run("verify", "plan.h5", "--json").stdout)
    assert set(verified) == {
        "ok", "file", "seal", "error", "mismatch", "cells", "entries", "empty", "seconds"
    }
    assert verified["ok"] is True and verified["mismatch"] is None
    assert verified["cells"] == 4096 * 4096
    assert verified["empty"] == [{"heads": [0], "rows": [[0, 5]], "columns": []}]


def test_json_is_documented(run):
    """Every key occurs in docs/cli.md as code."""
    text = (ROOT / "docs/cli.md").read_text()
    compiled(run)
    keys = set()

    def collect(value):
        if isinstance(value, dict):
            keys.update(value)
            value = list(value.values())
        if isinstance(value, list):
            for entry in value:
                collect(entry)

    for arguments in [[*CAUSAL], ["inspect", "plan.h5"], ["show", "plan.h5"], ["verify", "plan.h5"],
                      ["run", "plan.h5", "--backward", "--repeat", "1"]]:
        collect(json.loads(run(*arguments, "--json").stdout))
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


# --- Bad arguments: exit 2, a message that names the fragment, nothing written.

BAD_ARGUMENTS = [
    ([], "expected a command (compile, diff, explain, inspect, plan, run, show, verify, bench)"),
    (["compil"], "got 'compil': did you mean compile?"),
    (["--versoin"], "unknown option --versoin: did you mean --version?"),
    (["compile"], "MASK is required"),
    (["compile", "causal()"], "--q-len is required"),
    (["compile", "causal()", "--qlen", "512"], "unknown option --qlen: did you mean --q-len?"),
    (["compile", "causal()", "--q-len", "512", "--blok-q=8"], "did you mean --block-q?"),
    (["compile", "causal()", "--q-len"], "--q-len: 1 required N missing"),
    (["compile", "causal()", "--q-len", "4k"], "--q-len: expected a whole number, got '4k'"),
    (["compile", "causal()", "--q-len", "0"], "--q-len: expected at least 1, got 0"),
    (["compile", "causal()", "--q-len", "-512"], "--q-len: expected at least 1, got -512"),
    (["compile", "causal()", "--q-len", "512", "--kv-len", "-1"], "expected at least 1, got -1"),
    (["compile", "causal()", "--q-len", "99999999999999999999"],
     "--q-len: expected at most 64 bits, got 99999999999999999999"),
    (["compile", "causal()", "--q-len", "9223372036854775296"], "bytes: use larger blocks"),
    (["compile", "causal()", "--q-len", "17179869184"], "bytes: use larger blocks"),
    (["compile", "causal()", "--q-len", "1000"],
     "expected block_q (512) to divide q_len (1000): nearest are 500 and 1000"),
    (["compile", "causal()", "--q-len", "1024", "--kv-len", "1000"], "block_kv (512) to divide kv_len"),
    (["compile", "causal()", "--q-len", "1024", "--block-kv-dkv", "384"],
     "block_kv_dkv (384) to divide kv_len (1024)"),
    (["compile", "causal()", "--q-len", "1024", "--block-q", "0"], "--block-q: expected at least 1"),
    (["compile", "causal()", "--q-len", "1024", "--q-seq-shards", "3"], "q_seq_shards (3) to divide"),
    (["compile", "causal()", "--q-len", "1024", "--q-seq-shards", "4"], "q_seq_shards"),
    (["compile", "causal()", "--q-len", "1024", "--heads", "3", "--head-shards", "2"],
     "expected head_shards (2) to divide the number of heads (3)"),
    (["compile", "causal()", "--q-len", "1024", "--heads", "0"], "--heads: expected at least 1, got 0"),
    (["compile", "[causal() * 2]", "--q-len", "1024", "--heads", "3"],
     "expected 3 heads, but the list has 2"),
    (["compile", "causal()", "--q-len", "1024", "--passes", "fwd,bwd"], "--passes: bwd not in {fwd,dq,dkv}"),
    (["compile", "causal()", "--q-len", "1024", "--fused-bwd", "--block-q-dq", "256"],
     "expected no dq pass and no dq block sizes with --fused-bwd, got --block-q-dq"),
    (["compile", "causal()", "--q-len", "1024", "--fused-bwd", "--passes", "dq"], "got --passes dq"),
    (["compile", "causal()", "--q-len", "1024", "--passes", "fwd", "--block-kv-dkv", "256"],
     "expected dkv in --passes"),
    (["compile", "causal()", "--q-len", "1024", "--empty-rows", "maybe"],
     "--empty-rows: maybe not in {error,warn,allow}"),
    (["compile", "causal()", "--q-len", "1024", "--threads", "5000"], "--threads: expected at most 1024"),
    (["inspect"], "PLAN is required"),
    (["inspect", "nowhere.h5"], "nowhere.h5: cannot open the file: No such file or directory"),
    (["show", "nowhere.h5"], "nowhere.h5: cannot open the file"),
    (["verify", "nowhere.h5"], "nowhere.h5: cannot open the file"),
    (["show", "x.h5", "--pass", "bwd"], "--pass: bwd not in {fwd,dq,dkv,tokamax/fwd,tokamax/dkv}"),
    (["show", "x.h5", "--width", "3"], "--width: expected at least 20, got 3"),
    (["show", "x.h5", "--head", "-1"], "--head: expected at least 0, got -1"),
]


@pytest.mark.parametrize("arguments, text", BAD_ARGUMENTS, ids=lambda value: None)
def test_bad_arguments(run, tmp_path, arguments, text):
    (tmp_path / "plan.h5").write_text("old")
    output = ["-o", "plan.h5"] if arguments[:1] == ["compile"] and "causal" in str(arguments) else []
    expect_refusal(run(*arguments[:2], *output, *arguments[2:]), text, tmp_path)
