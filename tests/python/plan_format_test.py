# SPDX-License-Identifier: Apache-2.0
"""docs/plan-format.md is the format: its own code reads and checks the files we write.

SPLASHMASK_BIN names the command. The sample plans, which between them use everything a plan file can
hold, come from the program tests/io/write_sample_plans of the same build.
"""

import os
import pathlib
import re
import shutil
import subprocess

import h5py
import numpy as np
import pytest

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "plan-format.md"


def code_blocks(kind):
    pattern = rf"<!-- {kind}: (\w+) -->\n```\w+\n(.*?)```"
    return dict(re.findall(pattern, DOCUMENT.read_text(), re.DOTALL))


@pytest.fixture(scope="module")
def document():
    """Everything that the document's code defines."""
    namespace = {}
    for name, code in code_blocks("run").items():
        exec(compile(code, f"{DOCUMENT.name}: {name}", "exec"), namespace)
    return namespace


@pytest.fixture(scope="module")
def command():
    return pathlib.Path(os.environ["SPLASHMASK_BIN"])


@pytest.fixture(scope="module")
def samples(command, tmp_path_factory):
    directory = tmp_path_factory.mktemp("samples")
    writer = command.parents[1] / "tests" / "io" / "write_sample_plans"
    subprocess.run([writer, directory], check=True)
    return sorted(directory.iterdir())


@pytest.fixture(scope="module")
def example(command, tmp_path_factory):
    """The plan of the document's example, made as the document says."""
    directory = tmp_path_factory.mktemp("example")
    line = re.search(r"^splashmask (compile '.*) -o plan.h5$", DOCUMENT.read_text(), re.MULTILINE)
    bits = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1]]
    np.save(directory / "bits.npy", np.array(bits, bool))
    subprocess.run(f"'{command}' {line[1]} -o plan.h5", shell=True, check=True, cwd=directory)
    return directory / "plan.h5"


def test_example_is_as_dumped(document, example, capsys):
    document["dump"](example)
    without_release = lambda text: re.sub(r"created_with='[^']*'", "", text)
    assert without_release(capsys.readouterr().out) == without_release(code_blocks("prints")["dump"])


def test_example_reads_as_its_mask(document, example):
    q, kv = np.indices((24, 24))
    bits = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 1]], bool)
    mask = (q >= kv) & np.kron(bits, np.ones((6, 6), bool))
    fwd, dkv = (document["read_pass"](example, name) for name in ("fwd", "dkv"))
    assert fwd.keys() == {"data_next", "mask_next", "block_mask", "partial_mask_blocks"}
    for row in range(3):
        for column in range(2):
            block = mask[8 * row : 8 * row + 8, 12 * column : 12 * column + 12]
            where = (0, row, column)
            assert fwd["block_mask"][where] == (2 if block.all() else 1 if block.any() else 0)
            if fwd["block_mask"][where] == 1:
                partial = fwd["partial_mask_blocks"][fwd["mask_next"][where]]
                np.testing.assert_array_equal(partial, block)
                partial = dkv["partial_mask_blocks"][dkv["mask_next"][where]]
                np.testing.assert_array_equal(partial, block.T)


def test_seal_of_every_sample(document, samples, example):
    for path in [*samples, example]:
        assert document["seal_is_valid"](path), path.name


def test_seal_of_many_leaves(document, command, tmp_path):
    rng = np.random.default_rng(7)
    np.save(tmp_path / "mask.npy", rng.random((5000, 6000)) < 0.5)
    arguments = "--q-len 5000 --kv-len 6000 --block-q 1000 --block-kv 1000 -o plan.h5"
    run = [command, "compile", 'dense("mask.npy")', *arguments.split()]
    subprocess.run(run, check=True, cwd=tmp_path)
    assert (tmp_path / "plan.h5").stat().st_size > 3 * 2**20
    assert document["seal_is_valid"](tmp_path / "plan.h5")


def test_seal_tells_damage(document, samples, tmp_path):
    path = tmp_path / "plan.h5"
    whole = samples[0].read_bytes()
    for position in range(0, len(whole), 97):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        assert not document["seal_is_valid"](path), position
        path.write_bytes(whole[:position])
        assert not document["seal_is_valid"](path), position


def test_digests_of_every_sample(document, samples, example):
    arrays = 0
    for path in [*samples, example]:
        with h5py.File(path) as f:
            for name in ("mask_digest", "plan_digest", "content_digest"):
                assert f.attrs[name] == document[name](f), (path.name, name)
            for name, data in f["mask/data"].items():
                assert name == document["array_digest"](data), path.name
                arrays += 1
    assert arrays > 40


def test_strings_and_bools_are_python_values(example):
    with h5py.File(example) as f:
        assert type(f.attrs["format"]) is str
        assert f.attrs["format"] == "splashmask"
        assert f.attrs["format_version"].dtype == np.int64
        assert type(f.attrs["created_with"]) is str
        assert type(f["options"].attrs["dialect"]) is str
        assert f["options"].attrs["shrink_grid"].dtype == np.bool_
        assert f["mask/expression"].asstr()[()].startswith("[(causal() & ")


def test_edit_by_h5py_breaks_the_seal_alone(document, command, example, tmp_path):
    path = tmp_path / "plan.h5"
    shutil.copy(example, path)
    with h5py.File(path, "r+") as f:
        f["fwd/block_mask"][0, 0, 0] = 2
    assert not document["seal_is_valid"](path)
    run = subprocess.run([command, "verify", path], capture_output=True, text=True)
    assert run.returncode == 3 and "seal" in run.stdout + run.stderr
    with h5py.File(path) as f:
        assert f.attrs["content_digest"] != document["content_digest"](f)
        assert f.attrs["plan_digest"] == document["plan_digest"](f)
