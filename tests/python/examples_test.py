# SPDX-License-Identifier: Apache-2.0
"""The examples run: the masks of models, packed documents, a data loader whose step is compiled once, a
transformer that learns both ways."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np

from command import BINARY

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def test_train_packed():
    done = subprocess.run([sys.executable, EXAMPLES / "train_packed.py", "--steps", "3",
                           "--length", "256"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and lines[-1] == "compiled 1 time(s)"
    for number, line in enumerate(lines[:3]):
        assert re.fullmatch(rf"step {number}: loss [0-9.]+, \d+ documents, \d+% of the blocks visited",
                            line)


def test_train_transformer():
    done = subprocess.run([sys.executable, EXAMPLES / "train_transformer.py", "--steps", "4",
                           "--length", "256"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    curves = [tuple(map(float, line.split()[1:])) for line in done.stdout.splitlines()[2:-1]]
    assert len(curves) == 4
    for splash, dense in curves:
        assert abs(splash - dense) < 1e-3
    assert curves[-1][0] < curves[0][0]


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
