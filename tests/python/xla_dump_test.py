# SPDX-License-Identifier: Apache-2.0
"""The committed dump is what the TPU compiler writes today, byte for byte."""

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("libtpu", reason="libtpu, the TPU compiler, is not installed")

pytestmark = pytest.mark.tpu_compiler

IO = pathlib.Path(__file__).resolve().parent.parent / "io"


def test_make_xla_dump_repeats_the_committed_files(tmp_path):
    subprocess.run(
        [sys.executable, IO / "make_xla_dump.py", "--output", tmp_path], check=True, timeout=600
    )
    committed = {path.name: path.read_bytes() for path in (IO / "data").glob("splash_fwd_*.txt")}
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(committed) == ["splash_fwd_buffers.txt", "splash_fwd_kernel.txt"]
    assert committed == written
    assert sum(map(len, committed.values())) < 100_000
