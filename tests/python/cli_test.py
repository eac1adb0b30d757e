# SPDX-License-Identifier: Apache-2.0
"""The splashmask command from outside: what it prints, writes and returns."""

import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from command import BINARY, CAUSAL, compiled, in_terminal

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


def edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def overwrite(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1 and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


# --- The commands and their help.


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
    for command in ["compile", "diff", "explain", "inspect", "run", "show", "verify", ""]:
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


# --- Lists in tokamax's dialect.


@pytest.fixture
def tokamax_plan(tmp_path):
    """A plan with passes in tokamax's dialect alone."""
    writer = pathlib.Path(BINARY).parents[1] / "tests" / "io" / "write_sample_plans"
    (tmp_path / "samples").mkdir()
    subprocess.run([writer, tmp_path / "samples"], check=True)
    shutil.copy(tmp_path / "samples" / "tokamax.h5", tmp_path / "plan.h5")
    return tmp_path / "plan.h5"


def test_inspect_lists_tokamax_tables(run, tokamax_plan):
    text = run("inspect", "plan.h5").stdout
    assert "tokamax/fwd  block_q 1, block_kv 2, " in text
    assert "kv_seq_shards 1, downcast_smem_data yes, return_dynamic_grid no, simplify no" in text
    assert re.search(r"active_rows +int8 +\[5\] +5 bytes", text)
    result = json.loads(run("inspect", "plan.h5", "--json").stdout)
    assert result["passes"] == {} and set(result["tokamax"]) == {"fwd", "dkv"}
    fwd = result["tokamax"]["fwd"]
    assert set(fwd) == {"block_q", "block_kv", "q_seq_shards", "kv_seq_shards", "downcast_smem_data",
                        "return_dynamic_grid", "simplify", "tables", "blocks", "mask_function"}
    assert fwd["tables"]["num_active_blocks"] == {"dtype": "int32", "shape": [1], "bytes": 4}
    assert fwd["tables"]["partial_mask_blocks"] == {"dtype": "bool", "shape": [2, 1, 2], "bytes": 2}
    assert result["tokamax"]["dkv"]["return_dynamic_grid"] is False
    documented = (ROOT / "docs/cli.md").read_text()
    assert [key for key in [*fwd, *fwd["tables"]] if f"`{key}`" not in documented] == []


def test_options_that_no_plan_has_are_damage(run, tokamax_plan):
    def alter(file):
        file["tokamax/dkv"].attrs["q_seq_shards"] = 5

    edit(tokamax_plan, alter)
    done = run("verify", "plan.h5", "--ignore-seal", "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["ok"] is False


def test_show_draws_tokamax_passes(run, tokamax_plan):
    done = run("show", "plan.h5", "--pass", "tokamax/dkv", "--color", "never")
    assert done.returncode == 0 and "tokamax/dkv, head 0 of " in done.stdout
    rows = json.loads(run("show", "plan.h5", "--pass", "tokamax/fwd", "--json").stdout)["rows"]
    blocks = json.loads(run("inspect", "plan.h5", "--json").stdout)["tokamax"]["fwd"]["blocks"]
    assert [sum(row.count(digit) for row in rows) for digit in "012"] == [
        blocks["empty"], blocks["partial"], blocks["full"]]
    assert "tokamax/fwd, head 0 of " in run("show", "plan.h5").stdout  # The first that it has.
    done = run("show", "plan.h5", "--pass", "dq")
    assert done.returncode == 2
    assert "with the pass dq, got one with tokamax/fwd, tokamax/dkv" in done.stderr


def test_verify_proves_tokamax_tables(run, tokamax_plan):
    done = run("verify", "plan.h5")
    assert done.returncode == 0 and "(tokamax/fwd, tokamax/dkv; " in done.stdout

    def alter(file):
        file["tokamax/dkv/block_mask"][5] = 1

    edit(tokamax_plan, alter)
    assert run("verify", "plan.h5").returncode == 3
    done = run("verify", "plan.h5", "--ignore-seal")
    assert done.returncode == 1
    assert "MISMATCH in plan.h5: tokamax/dkv block_mask[5]: expected 2, got 1" in done.stdout
    result = json.loads(run("verify", "plan.h5", "--ignore-seal", "--json").stdout)
    assert result["ok"] is False
    with h5py.File(tokamax_plan) as file:  # Every block has an entry, kv block by kv block.
        block = file["tokamax/dkv"].attrs
        row, column = divmod(5, int(file["mask"].attrs["q_len"] // block["block_q"]))
        q, kv = column * block["block_q"], row * block["block_kv"]
    assert result["mismatch"] == {"pass": "tokamax/dkv", "table": "block_mask", "index": [5],
                                  "head": 0, "q": q, "kv": kv, "expected": "2", "got": "1"}


# --- Pictures.


@pytest.mark.parametrize("name", ["fwd", "dq", "dkv"])
@pytest.mark.parametrize("flags", [[], ["--no-shrink"], ["--q-seq-shards", "4"]])
def test_show_draws_the_whole_grid(run, name, flags):
    compiled(run, "compile", "local(700, 0)", "--q-len", "4096", *flags)
    q, kv = np.meshgrid(np.arange(4096), np.arange(4096), indexing="ij")
    mask = (kv <= q) & (kv >= q - 700)
    blocks = mask.reshape(8, 512, 8, 512)
    expected = np.where(blocks.all((1, 3)), 2, blocks.any((1, 3)))
    rows = json.loads(run("show", "plan.h5", "--pass", name, "--json").stdout)["rows"]
    assert rows == ["".join(map(str, row)) for row in expected]


def test_show_fits_the_width(run):
    compiled(run)
    for arguments, environment, width in [
        ([], {}, 80), ([], {"COLUMNS": "50"}, 50), (["--width", "60"], {"COLUMNS": "50"}, 60)
    ]:
        lines = run("show", "plan.h5", *arguments, env=environment).stdout.splitlines()
        frame = [line for line in lines if line.endswith("│")]
        assert width - 8 <= len(frame[0]) <= width


def test_colours_only_when_wanted(run):
    compiled(run)
    assert "\x1b" not in run("show", "plan.h5").stdout
    assert "\x1b[38;5;" in run("show", "plan.h5", "--color", "always", env={"COLORTERM": ""}).stdout
    assert "\x1b[38;2;" in run("show", "plan.h5", "--color", "always",
                               env={"COLORTERM": "truecolor", "NO_COLOR": "1"}).stdout


def test_a_terminal_gets_colours_unless_no_color(run, tmp_path):
    compiled(run)

    def on_terminal(**environment):
        main, terminal = pty.openpty()
        run("show", "plan.h5", stdout=terminal, env={"TERM": "xterm", "NO_COLOR": "", **environment})
        os.close(terminal)
        seen = b""
        try:
            while piece := os.read(main, 65536):
                seen += piece
        except OSError:
            pass
        os.close(main)
        return seen.decode()

    assert "\x1b[38;" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in on_terminal(TERM="dumb")


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


# --- Bad input: exit 2, a message that names the fragment, nothing written.

BAD_ARGUMENTS = [
    ([], "expected a command (compile, diff, explain, inspect, run, show, verify, bench)"),
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


def expect_refusal(done, text, folder):
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert done.stderr.startswith("splashmask: [")
    assert done.stdout == ""
    assert (folder / "plan.h5").read_text() == "old"
    assert not [file for file in folder.iterdir() if file.suffix not in (".h5", ".npy")]


@pytest.mark.parametrize("arguments, text", BAD_ARGUMENTS, ids=lambda value: None)
def test_bad_arguments(run, tmp_path, arguments, text):
    (tmp_path / "plan.h5").write_text("old")
    output = ["-o", "plan.h5"] if arguments[:1] == ["compile"] and "causal" in str(arguments) else []
    expect_refusal(run(*arguments[:2], *output, *arguments[2:]), text, tmp_path)


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


@pytest.mark.parametrize("command", ["inspect", "show", "verify"])
def test_files_that_are_no_plans(run, tmp_path, command):
    np.save(tmp_path / "array.npy", IDS)
    done = run(command, "array.npy")
    assert done.returncode == 2 and "expected a splashmask plan file" in done.stderr
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    done = run(command, "other.h5")
    assert done.returncode == 2 and "expected a splashmask plan file" in done.stderr


def test_a_newer_format_is_unusable_input(run, tmp_path):
    compiled(run)
    edit(tmp_path / "plan.h5", lambda file: file.attrs.modify("format_version", 2))
    done = run("verify", "plan.h5", "--ignore-seal")
    assert done.returncode == 2
    assert "format" in done.stderr and "2" in done.stderr


def test_show_names_what_the_plan_has(run):
    compiled(run, "compile", "causal()", "--q-len", "512", "--passes", "fwd,dq")
    done = run("show", "plan.h5", "--pass", "dkv")
    assert done.returncode == 2 and "expected a plan with the pass dkv, got one with fwd, dq" in done.stderr
    done = run("show", "plan.h5", "--head", "1")
    assert done.returncode == 2 and "expected a head in 0..0, got 1" in done.stderr


# --- Damage and failed I/O: exit 3.


@pytest.mark.parametrize("command", ["inspect", "show", "verify"])
@pytest.mark.parametrize("damage", ["flip", "cut", "append"])
def test_damaged_plans(run, tmp_path, command, damage):
    path = tmp_path / compiled(run)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[:-1] if damage == "cut" else content + b"x" * (damage == "append"))
    done = run(command, "plan.h5", "--json")
    assert done.returncode == 3
    assert "the seal is broken" in done.stderr
    if command == "verify":
        assert json.loads(done.stdout) == {
            "ok": False, "file": "plan.h5", "seal": "broken", "mismatch": None,
            "error": done.stderr.removeprefix("splashmask: ").rstrip("\n")
        }
    else:
        assert done.stdout == ""


def test_damaged_structure_is_one_line_without_the_seal(run, tmp_path):
    path = tmp_path / compiled(run)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = run("verify", "plan.h5", "--ignore-seal")
    assert done.returncode == 3 and done.stdout == ""
    assert re.fullmatch(r"splashmask: \[read_plan\] plan.h5: .*checksum.*\n", done.stderr)


def test_attributes_that_another_tool_wrote_anew(run, tmp_path):
    compiled(run)

    def rewrite(file):
        for name in list(file.attrs):
            file.attrs[name] = file.attrs[name]
        file.attrs["created_with"] = "another tool, with a name that needs more room than ours did"

    edit(tmp_path / "plan.h5", rewrite)
    assert run("verify", "plan.h5").returncode == 3
    done = run("verify", "plan.h5", "--ignore-seal")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["inspect", "show", "verify"])
@pytest.mark.parametrize("path, got", [(".", "a directory"),
                                       ("/dev/null", "a device, pipe or socket")])
def test_plans_that_are_no_files(run, command, path, got):
    done = run(command, path)
    assert done.returncode == 2
    assert f"{path}: expected a regular file, got {got}" in done.stderr


def test_verify_names_a_wrong_entry(run, tmp_path):
    compiled(run)

    def alter(file):
        file["dkv/block_mask"][0, 3, 2] = 1

    edit(tmp_path / "plan.h5", alter)
    assert run("verify", "plan.h5").returncode == 3
    done = run("verify", "plan.h5", "--ignore-seal")
    assert done.returncode == 1
    assert "the seal is broken, and ignored as asked" in done.stdout
    assert "MISMATCH in plan.h5: dkv block_mask[0, 3, 2]: expected 2, got 1" in done.stdout
    done = run("verify", "plan.h5", "--ignore-seal", "--json")
    result = json.loads(done.stdout)
    assert done.returncode == 1
    assert result["ok"] is False and result["seal"] == "broken"
    assert set(result["mismatch"]) == {"pass", "table", "index", "head", "q", "kv", "expected", "got"}
    assert result["mismatch"]["pass"] == "dkv"
    assert result["mismatch"]["table"] == "block_mask"
    assert result["mismatch"]["index"] == [0, 3, 2]


def test_verify_tells_a_broken_seal_from_broken_content(run, tmp_path):
    compiled(run)
    overwrite(tmp_path / "plan.h5", b"splashmask 0.1.0", b"SPLASHMASK 0.1.0")
    assert run("verify", "plan.h5").returncode == 3
    done = run("verify", "plan.h5", "--ignore-seal", "--json")
    assert done.returncode == 0  # No digest covers that.
    assert json.loads(done.stdout)["ok"] is True and json.loads(done.stdout)["seal"] == "broken"

    digest = json.loads(run("inspect", compiled(run), "--json").stdout)["digests"]["plan"]
    overwrite(tmp_path / "plan.h5", digest.encode(), b"0" * 64)
    done = run("verify", "plan.h5", "--ignore-seal", "--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["ok"] is False and result["mismatch"] is None
    assert "expected plan_digest 0000" in result["error"]


@pytest.mark.parametrize("output, text", [
    ("nowhere/plan.h5", "No such file or directory"),
    ("folder", "expected a regular file or a new name, got a directory"),
    ("file/plan.h5", "Not a directory"),
    ("/dev/full", "got a device"),
])
def test_unwritable_output(run, tmp_path, output, text):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    done = run(*CAUSAL, "-o", output)
    assert done.returncode == 3 and text in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_an_output_that_does_not_fit_leaves_the_old_file(run, tmp_path):
    (tmp_path / "plan.h5").write_text("old")

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    done = run(*CAUSAL, "-o", "plan.h5", preexec_fn=limit_file_size)
    assert done.returncode == 3 and "plan.h5: cannot write the file: File too large" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["plan.h5"]
    assert (tmp_path / "plan.h5").read_text() == "old"


def test_standard_output_that_takes_nothing(run):
    with open("/dev/full", "w") as full:
        done = run(*CAUSAL, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert "bytes to standard output, got: No space left on device" in done.stderr


def test_closed_standard_streams_do_not_harm_the_plan(run, tmp_path):
    done = run(*CAUSAL, "-o", "plan.h5", preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])
    assert done.returncode == 3  # The summary had nowhere to go.
    assert run("verify", "plan.h5").returncode == 0


def test_a_reader_that_leaves(run, tmp_path):
    compiled(run, "compile", "causal()", "--q-len", "262144", "--empty-rows", "allow")
    read, write = os.pipe()
    os.close(read)
    done = run("show", "plan.h5", "--json", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 3 and "Broken pipe" in done.stderr


# --- Progress and Ctrl-C. Many distinct blocks, so that it takes a while on any machine.

SLOW = ["compile", "(stride(3) ^ stride(7)) - reorder(local(100, 5), q=striped(16)) | "
        "reorder(stride(11), q=zigzag(4))", "--q-len", "65536", "--empty-rows", "allow", "--passes",
        "fwd", "--threads", "1", "-o", "plan.h5"]


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    (tmp_path / "plan.h5").write_text("old")
    code, output, seen = in_terminal(SLOW, tmp_path, interrupt_at="compile ")
    assert code == 130
    assert output == ""
    assert seen.endswith("splashmask: interrupted\r\n")
    assert [file.name for file in tmp_path.iterdir()] == ["plan.h5"]
    assert (tmp_path / "plan.h5").read_text() == "old"


def test_progress_is_shown_and_wiped(tmp_path):
    code, output, seen = in_terminal(SLOW, tmp_path)
    assert code == 0 and "wrote plan.h5" in output
    assert re.search(r"compile [█░]{32} +\d+ %", seen)
    assert seen.endswith("\r\x1b[K")


def test_no_progress_for_quick_work_or_files(run, tmp_path):
    code, _, seen = in_terminal([*CAUSAL, "-o", "plan.h5"], tmp_path)
    assert code == 0 and seen == ""
    assert run(*SLOW).stderr == ""


# --- The examples.


def test_examples_compile_and_verify(tmp_path):
    done = subprocess.run([EXAMPLES / "compile-all", tmp_path / "out"], capture_output=True, text=True,
                          env={**os.environ, "SPLASHMASK": BINARY})
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^([a-z][^ ]*) +\d", (EXAMPLES / "models.txt").read_text(), re.MULTILINE)
    assert len(names) == 10
    assert done.stdout.count("\nok ") == len(names)
    assert sorted(file.stem for file in (tmp_path / "out").iterdir()) == sorted(names)


def test_pack_documents(tmp_path):
    texts = tmp_path / "texts"
    (texts / "more").mkdir(parents=True)
    for name, size in {"a": 60, "b": 50, "c": 30, "d": 0, "e": 130, "more/f": 20}.items():
        (texts / name).write_bytes(b"x" * size)
    (texts / "link").symlink_to("a")
    # Rows of 100, first-fit: [60 + 30], [50 + 30 + 20], [100].
    script = [sys.executable, EXAMPLES / "pack_documents.py", texts, tmp_path / "out.npy", "--length",
              "100"]
    expected = {0: [1] * 60 + [2] * 30 + [0] * 10, 1: [1] * 50 + [2] * 30 + [3] * 20, 2: [1] * 100}
    for row, ids in expected.items():
        subprocess.run([*script, "--row", str(row)], check=True)
        got = np.load(tmp_path / "out.npy")
        assert got.dtype == np.int32 and got.tolist() == ids
    subprocess.run(script, check=True)  # The row with most documents.
    assert np.load(tmp_path / "out.npy").tolist() == expected[1]
    done = subprocess.run([*script, "--row", "3"], capture_output=True, text=True)
    assert done.returncode == 2 and "expected --row in 0..2, got 3" in done.stderr


def test_packed_documents_are_what_models_txt_says():
    ids = np.load(EXAMPLES / "packed-documents.npy")
    assert ids.dtype == np.int32 and ids.shape == (16384,)
    assert np.bincount(ids).tolist() == [1477, 11358, 1499, 1708, 342]


def test_inspect_counts_pairs(run):
    compiled(run, "compile", "[causal() * 2, local(9, 0), full()]", "--q-len", "512")
    assert "pairs" not in run("inspect", "plan.h5").stdout
    assert "visible_pairs" not in json.loads(run("inspect", "plan.h5", "--json").stdout)
    counted = json.loads(run("inspect", "plan.h5", "--count", "--json").stdout)["visible_pairs"]
    assert counted == [512 * 513 // 2, 512 * 513 // 2, 10 * 512 - 45, 512 * 512]
    text = run("inspect", "plan.h5", "--count").stdout
    assert text.endswith("5,075 pairs (1.9 %) in head 2\n131,328 pairs (50.1 %) in heads 0..1\n"
                         "262,144 pairs (100 %) in head 3\n"), text
