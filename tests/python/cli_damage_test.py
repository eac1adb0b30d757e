# SPDX-License-Identifier: Apache-2.0
"""What the command says of files that are no plans, of damaged ones, and of tables that are wrong."""

import json
import re

import h5py
import numpy as np
import pytest

from command import compiled, edit


def overwrite(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1 and len(old) == len(new)
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("command", ["inspect", "show", "verify"])
def test_files_that_are_no_plans(run, tmp_path, command):
    np.save(tmp_path / "array.npy", np.zeros(512, "int32"))
    done = run(command, "array.npy")
    assert done.returncode == 2 and "expected a splashmask plan file" in done.stderr
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    done = run(command, "other.h5")
    assert done.returncode == 2 and "expected a splashmask plan file" in done.stderr


@pytest.mark.parametrize("command", ["inspect", "show", "verify"])
@pytest.mark.parametrize("path, got", [(".", "a directory"),
                                       ("/dev/null", "a device, pipe or socket")])
def test_plans_that_are_no_files(run, command, path, got):
    done = run(command, path)
    assert done.returncode == 2
    assert f"{path}: expected a regular file, got {got}" in done.stderr


def test_a_newer_format_is_unusable_input(run, tmp_path):
    compiled(run)
    edit(tmp_path / "plan.h5", lambda file: file.attrs.modify("format_version", 2))
    done = run("verify", "plan.h5", "--ignore-seal")
    assert done.returncode == 2
    assert "format" in done.stderr and "2" in done.stderr


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
