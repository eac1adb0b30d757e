# SPDX-License-Identifier: Apache-2.0
"""splashmask plan --compare-xla: predicted buffers beside those of a compiler."""

import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DUMP = ROOT / "tests" / "io" / "data" / "splash_fwd_buffers.txt"  # tests/io/make_xla_dump.py.
MASK = "causal(256)"
# Splash attention of another compiler: 8 heads, q_len and kv_len 2048, one block of 2048.
SEED = ROOT.parent / "shared" / "seeds" / "000_42420fece0c12240.txt"


def compared(run, mask, dump, *arguments, code=0):
    done = run("plan", mask, "--compare-xla", dump, "--json", *arguments)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def both(count):
    return {"predicted": count, "compiler": count}


def changed(folder, *pairs):
    """The dump with texts replaced."""
    text = DUMP.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (folder / "changed.txt").write_text(text)
    return "changed.txt"


def test_our_dump_is_predicted(run):
    result = compared(run, MASK, DUMP)
    assert result["equal"]
    assert result["hbm_bytes"] == both(1_426_432)
    assert result["temporary_bytes"] == both(245_760)
    assert result["call"] == {
        "kernel": "splash_mha_fwd_no_residuals", "grid": [3, 2, 2], "batch": 1, "heads": 3,
        "kv_heads": 3, "q_len": 256, "kv_len": 512, "head_dim": 128, "head_dim_v": 128,
        "dtype": "bfloat16", "block_q": 128, "block_kv": 256, "segments": False, "sinks": False,
        "residuals": False, "tables_are_arguments": False, "prefetch_tables": 2}
    in_dump = set(re.findall(r"^ value: <\d+ (\S+) @", DUMP.read_text(), re.MULTILINE))
    shown = {buffer["instruction"] for buffer in result["buffers"]}
    copies = {name for name in in_dump if name.startswith("copy-start")}
    assert shown | copies == {re.sub(r"\{\}$", "", name) for name in in_dump - copies} | copies
    assert all(buffer["predicted"] == buffer["compiler"] for buffer in result["buffers"])


def test_a_plan_file_is_compared_too(run):
    done = run("compile", f"[{MASK} * 3]", "--q-len", "256", "--kv-len", "512", "--block-q", "128",
               "--block-kv", "256", "-o", "plan.h5", "--empty-rows", "allow")
    assert done.returncode == 0, done.stderr
    assert compared(run, "plan.h5", DUMP)["equal"]


def test_text_shows_both_sides(run):
    done = run("plan", MASK, "--compare-xla", DUMP)
    assert done.returncode == 0
    assert re.search(r"^  q +bf16\[3,256,128\]\{2,1,0:T\(8,128\)\(2,1\)\} +196,608 +196,608$", done.stdout,
                     re.MULTILINE)
    assert re.search(r"^  HBM +1,426,432 +1,426,432$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("equal, byte for byte\n")
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_a_changed_number_is_seen(run, tmp_path):
    """The compiler's temporaries, and so its sum, 16 bytes larger."""
    dump = changed(tmp_path, ("size 245760,", "size 245776,"), ("used: 1562120", "used: 1562136"))
    result = compared(run, MASK, dump, code=1)
    assert not result["equal"]
    assert result["temporary_bytes"] == {"predicted": 245_760, "compiler": 245_776}
    assert result["hbm_bytes"] == {"predicted": 1_426_432, "compiler": 1_426_448}
    done = run("plan", MASK, "--compare-xla", dump)
    assert done.returncode == 1
    assert re.search(r"^! HBM +1,426,432 +1,426,448$", done.stdout, re.MULTILINE)
    assert done.stdout.endswith("differ: 0 buffers, -16 bytes of HBM\n")


def test_a_changed_layout_is_seen(run, tmp_path):
    """The same bytes in other tiles: both stand there, each without the other side."""
    dump = changed(tmp_path, ("s32[256,128]{1,0:T(8,128)S(1)}", "s32[256,128]{1,0:T(4,128)S(1)}"))
    result = compared(run, MASK, dump, code=1)
    lone = [buffer for buffer in result["buffers"] if buffer["predicted"] != buffer["compiler"]]
    assert [(buffer["shape"], buffer["predicted"], buffer["compiler"]) for buffer in lone] == [
        ("s32[256,128]{1,0:T(8,128)S(1)}", 131_072, None),
        ("s32[256,128]{1,0:T(4,128)S(1)}", None, 131_072)]
    assert result["hbm_bytes"] == both(1_426_432)


def test_another_mask_has_other_buffers(run):
    result = compared(run, "local(7, 7, 256) & stride(2)", DUMP, code=1)
    lone = {(buffer["name"], buffer["instruction"]) for buffer in result["buffers"]
            if buffer["predicted"] != buffer["compiler"]}
    assert ("partial_mask_blocks", None) in lone and (None, "iota.1") in lone


def test_pointers_are_larger_on_other_chips(run):
    result = compared(run, MASK, DUMP, "--chip", "v5e", code=1)
    (ours,) = (b for b in result["buffers"] if b["name"] == "pointers to results")
    assert (ours["predicted"], ours["compiler"]) == (512, None)


@pytest.mark.skipif(not SEED.exists(), reason=f"{SEED} is not there")
def test_the_dump_of_another_compiler(run):
    result = compared(run, "causal()", SEED)
    assert result["equal"]
    assert result["all_bytes"] == both(20_988_928)
    assert result["hbm_bytes"] == both(20_988_928 - 2048 * 128 * 4)
    (positions,) = (b for b in result["buffers"] if b["name"] == "q_sequence, broadcast")
    assert positions["shape"] == "s32[2048,128]{1,0:T(8,128)S(1)}"
    assert (result["call"]["heads"], result["call"]["block_q"], result["call"]["block_kv"]) == (8, 2048, 2048)


@pytest.mark.parametrize("arguments, text", [
    ([MASK, "--compare-xla", DUMP, "--head-dim", "64"], "expected no call beside --compare-xla"),
    ([MASK, "--compare-xla", DUMP, "--balance", "lpt"], "expected one of --balance, --tune and --compare-xla"),
    ([MASK, "--compare-xla", "nowhere.txt"], "nowhere.txt: cannot open the file"),
    ([MASK, "--compare-xla", DUMP, "--heads", "4"],
     "expected a mask of 3 heads, 256 q x 512 kv, as the dump's kernel has, got 256 q x 512 kv, 4 heads"),
    ([MASK, "--compare-xla", DUMP, "--chip", "v9"], "unknown chip 'v9': known are v4, v5e, v5p, v6e"),
    ([MASK, "--compare-xla", __file__], "line 1: expected"),
])
def test_bad_arguments(run, arguments, text):
    done = run("plan", *arguments)
    assert done.returncode == 2
    assert text in done.stderr and done.stdout == ""


def test_a_plan_with_other_blocks(run):
    assert run("compile", f"[{MASK} * 3]", "--q-len", "256", "--kv-len", "512", "--block-q", "64",
               "--block-kv", "256", "-o", "plan.h5").returncode == 0
    done = run("plan", "plan.h5", "--compare-xla", DUMP)
    assert done.returncode == 2
    assert ("expected a plan with fwd blocks of 128 q x 256 kv, as the dump's kernel has, got 64 x 256"
            in done.stderr)


def test_dumps_that_are_cut_short_or_of_something_else(run, tmp_path):
    text = DUMP.read_text()
    (tmp_path / "cut.txt").write_text(text[:len(text) // 3])
    done = run("plan", MASK, "--compare-xla", "cut.txt")
    assert done.returncode == 2
    assert re.search(r"cut\.txt: line \d+: expected", done.stderr)
    done = run("plan", MASK, "--compare-xla", changed(tmp_path, ("splash_mha_fwd", "other_kernel")))
    assert done.returncode == 2
    assert "expected a program that calls one splash attention kernel" in done.stderr
    assert "got none" in done.stderr
