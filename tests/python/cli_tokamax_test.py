# SPDX-License-Identifier: Apache-2.0
"""Plans with lists in tokamax's dialect, as the command inspects, shows and verifies them."""

import json
import pathlib
import re
import shutil
import subprocess

import h5py
import pytest

from command import BINARY, edit

ROOT = pathlib.Path(__file__).resolve().parents[2]


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
