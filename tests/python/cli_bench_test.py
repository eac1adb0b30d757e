# SPDX-License-Identifier: Apache-2.0
"""splashmask bench attention: times beside other libraries' in a Python of theirs."""

import json
import os
import sys

import numpy as np
import pytest

from command import in_terminal, processes_of, python_program

SMALL = ["bench", "attention", "--q-len", "256", "--heads", "4", "--kv-heads", "2", "--head-dim", "32",
         "--block-q", "64", "--block-kv", "64", "--repeat", "2", "--json"]
WITH_JAX = ["--python", sys.executable, "--peers", "jax"]


def with_jax(tmp_path, change):
    return ["--python", python_program(tmp_path, change), "--peers", "jax"]


def described(done, code=0):
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_alone(run):
    result = described(run(*SMALL, "--peers", "none"))
    assert {name: result[name] for name in ("batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim",
                                            "head_dim_v", "dtype", "block_q", "backward", "missing")} == {
        "batch": 1, "heads": 4, "kv_heads": 2, "q_len": 256, "kv_len": 256, "head_dim": 32,
        "head_dim_v": 32, "dtype": "float32", "block_q": 64, "backward": False, "missing": {}}
    assert [row["mask"] for row in result["masks"]] == ["full()", "causal()", "local(1024, 0)"]
    causal = 4 * 256 * 257 // 2
    assert [row["visible_pairs"] for row in result["masks"]] == [4 * 256**2, causal, causal]
    for row in result["masks"]:
        assert row["seconds"] > 0 and row["peers"] == []
        assert row["spread"] >= 0
        operations = 2 * row["visible_pairs"] * (32 + 32)
        assert row["gflops"] == pytest.approx(operations / row["seconds"] / 1e9)
        assert row["share_of_peak"] == pytest.approx(row["gflops"] / result["peak_gflops"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_beside_jax(run, tmp_path, dtype):
    np.save(tmp_path / "cells.npy", np.random.default_rng(0).random((256, 256)) < 0.3)
    masks = ["full()", "causal()", "local(30, none, 5)", 'dense("cells.npy")', "stride(3) & ~q_range(10, 50)",
             "[causal() * 2, local(9, 3), full()]", "documents([100, 156])"]
    result = described(run(*SMALL, *masks, *WITH_JAX, "--dtype", dtype, "--backward"))
    assert result["backward"] and result["missing"] == {} and len(result["masks"]) == 7
    assert result["masks"][5]["mask"] == masks[5]
    for row in result["masks"]:
        (peer,) = row["peers"]
        assert peer["name"] == "jax" and peer["version"].startswith("0.") and peer["problem"] is None
        assert peer["difference"] < (1e-4 if dtype == "float32" else 0.5)
        assert peer["ratio"] == pytest.approx(peer["seconds"] / row["seconds"])


@pytest.mark.parametrize("of, name", [("q", "dq"), ("v", "dv")])
def test_a_peer_that_differs_is_not_timed(run, tmp_path, of, name):
    change = ("assert source.count('return out, *pull_back(self.do)') == 1\n"
              "source = source.replace('return out, *pull_back(self.do)', "
              "'dq, dk, dv = pull_back(self.do); return out, dq, dk, dv')\n"
              f"source = source.replace('return out, dq', 'd{of} = d{of} * 1.01; return out, dq')")
    done = run(*SMALL, "causal()", *with_jax(tmp_path, change), "--backward")
    (row,) = described(done, code=1)["masks"]
    (peer,) = row["peers"]
    assert peer["seconds"] is None and peer["ratio"] is None and row["seconds"] > 0
    assert peer["problem"].startswith(f"not timed: its {name} differs from ours by ")


def test_a_peer_that_cannot(run, tmp_path):
    change = "source = source.replace('self.jax.block_until_ready', 'self.jax.no_such_thing')"
    (row,) = described(run(*SMALL, "causal()", *with_jax(tmp_path, change)))["masks"]
    assert "no_such_thing" in row["peers"][0]["problem"] and row["peers"][0]["seconds"] is None
    text = run(*[x for x in SMALL if x != "--json"], "causal()", *with_jax(tmp_path, change)).stdout
    assert "jax.nn.dot_product_attention   [peers] AttributeError" in text


@pytest.mark.parametrize("do", ["load", "run", "tell"])
def test_a_peer_that_dies(run, tmp_path, do):
    change = ("source = source.replace('    def answer(self, request):', '    def answer(self, request):\\n"
              f"        if request[\\\"do\\\"] == \\\"{do}\\\" and hasattr(self, \\\"again\\\"): os._exit(1)\\n"
              f"        self.again = request[\\\"do\\\"] == \\\"{do}\\\" or hasattr(self, \\\"again\\\") or None\\n"
              "        if self.again is None: del self.again')")
    result = described(run(*SMALL, "causal()", "full()", *with_jax(tmp_path, change)))
    assert [row["seconds"] > 0 for row in result["masks"]] == [True, True]
    assert result["masks"][1]["peers"][0]["problem"].startswith("[p")


@pytest.mark.parametrize("answer, text", [
    ("not json", "expected an answer, got 'not json'"), ("[1]", "expected an answer, got '[1]'"),
    ('{"versions": {}}', "expected 'missing' in an answer"),
    ('{"versions": 3, "missing": {}}', "expected 'versions' in an answer")])
def test_answers_that_make_no_sense(run, tmp_path, answer, text):
    done = run(*SMALL, *with_jax(tmp_path, f"print({answer!r}, flush=True); source = 'input()'"))
    assert done.returncode == 2 and "expected a Python for --python" in done.stderr and text in done.stderr


def test_an_array_of_another_size(run, tmp_path):
    change = ("assert source.count('np.float32).swapaxes(1, 2)') == 1\n"
              "source = source.replace('np.float32).swapaxes(1, 2)', 'np.float32).swapaxes(1, 2)[:, :, 1:]')")
    (row,) = described(run(*SMALL, "causal()", *with_jax(tmp_path, change)), code=1)["masks"]
    assert row["peers"][0]["problem"] == "not timed: expected 32768 numbers of its out, got 32640"


def test_peers_that_are_not_there(run, tmp_path):
    change = "sys.modules['jax'] = None"
    done = run(*SMALL, "causal()", *with_jax(tmp_path, change))
    result = described(done)
    assert list(result["missing"]) == ["jax"] and result["masks"][0]["peers"] == []
    assert done.stderr.startswith("jax.nn.dot_product_attention is left out: ModuleNotFoundError")
    empty = run(*SMALL, "causal()", env={"PATH": str(tmp_path / "nowhere")})
    assert sorted(described(empty)["missing"]) == ["flex", "jax", "sdpa"]
    assert "cannot start python3: No such file or directory" in empty.stderr


@pytest.mark.parametrize("arguments, text", [
    (["--python", "/bin/true"], "expected a Python for --python, got /bin/true: [peers] Python ended"),
    (["--python", "/no/such"], "got /no/such: [process] cannot start /no/such: No such file"),
    (["--peers", "numpy"], "--peers"),
    (["causal"], "[parse]"),
    (["causal()", "--block-q", "100", "--peers", "none"], "expected block_q (100) to divide q_len (256)"),
    (["--kv-heads", "3", "--peers", "none", "full()"], "expected the heads of k (3) to divide those of q (4)"),
    (["[causal()]"], "expected 4 heads, but the list has 1"),
    (["--peers", "none,jax"], "expected --peers none alone"),
    (["--repeat", "0"], "expected at least 1, got 0"),
])
def test_bad_arguments(run, arguments, text):
    done = run("bench", "attention", "--q-len", "256", "--heads", "4", *arguments)
    assert done.returncode == 2 and text in done.stderr and done.stdout == ""


def test_names_in_a_group(run):
    for arguments, text in [
            (["bench"], "expected a command (attention, compile)\nrun `splashmask bench --help`"),
            (["bench", "atention"], "got 'atention': did you mean attention?\nrun `splashmask bench --help`"),
            (["bench", "attention", "--peer"],
             "did you mean --peers?\nrun `splashmask bench attention --help`")]:
        done = run(*arguments)
        assert done.returncode == 2 and text in done.stderr


def test_ctrl_c_leaves_nothing(run, tmp_path):
    (tmp_path / "temporary").mkdir()
    os.environ["TMPDIR"] = str(tmp_path / "temporary")
    try:
        code, output, seen = in_terminal(
            ["bench", "attention", "full()", *WITH_JAX, "--q-len", "2048", "--repeat", "10000"],
            tmp_path, interrupt_at="time ")
    finally:
        del os.environ["TMPDIR"]
    assert code == 130 and output == "" and seen.endswith("splashmask: interrupted\r\n")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not processes_of(tmp_path)
