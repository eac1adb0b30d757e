# SPDX-License-Identifier: Apache-2.0
"""The examples run: a data loader whose step is compiled once, a transformer that learns both ways."""

import pathlib
import re
import subprocess
import sys

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
