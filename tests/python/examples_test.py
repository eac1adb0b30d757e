# SPDX-License-Identifier: Apache-2.0
"""The example of a data loader runs, and compiles its step once."""

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
