# SPDX-License-Identifier: Apache-2.0
"""The committed goldens are what JAX says today, byte for byte."""

import pathlib
import subprocess
import sys

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"


def test_generate_repeats_the_committed_files(tmp_path):
    subprocess.run(
        [sys.executable, GOLDEN / "generate.py", "--output", tmp_path], check=True, timeout=600
    )
    committed = {path.name: path.read_bytes() for path in (GOLDEN / "data").iterdir()}
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert committed.keys() == written.keys()
    for name, content in committed.items():
        lines = zip(content.splitlines(), written[name].splitlines(), strict=True)
        different = [number for number, (old, new) in enumerate(lines, 1) if old != new]
        assert not different, f"{name}: lines {different[:10]} differ"
    assert committed == written


def test_goldens_stay_small():
    sizes = [path.stat().st_size for path in (GOLDEN / "data").iterdir()]
    assert 0 < sum(sizes) < 1_000_000
