# SPDX-License-Identifier: Apache-2.0
"""splashmask show: pictures of tables."""

import json
import os
import pty

import numpy as np
import pytest

from command import compiled


@pytest.mark.parametrize("name", ["fwd", "dq", "dkv"])
@pytest.mark.parametrize("flags", [[], ["--no-shrink"], ["--q-seq-shards", "4"]])
def test_show_draws_the_whole_grid(run, name, flags):
    compiled(run, "compile", "local(700, 0)", "--q-len", "4096", *flags)
    q, kv = np.meshgrid(np.arange(4096), np.arange(4096), indexing="ij")
    mask = (kv <= q) & (kv >= q - 700)
    blocks = mask.reshape(8, 512, 8, 512)
    expected = np.where(blocks.all((1, 3)), 2, blocks.any((1, 3)))
    rows = json.loads(run("show", "plan.h5", "--pass", name, "--json").stdout)["rows"]
    assert rows == ["".join(map(str, row)) for row in expected]


def test_show_fits_the_width(run):
    compiled(run)
    for arguments, environment, width in [
        ([], {}, 80), ([], {"COLUMNS": "50"}, 50), (["--width", "60"], {"COLUMNS": "50"}, 60)
    ]:
        lines = run("show", "plan.h5", *arguments, env=environment).stdout.splitlines()
        frame = [line for line in lines if line.endswith("│")]
        assert width - 8 <= len(frame[0]) <= width


def test_colours_only_when_wanted(run):
    compiled(run)
    assert "\x1b" not in run("show", "plan.h5").stdout
    assert "\x1b[38;5;" in run("show", "plan.h5", "--color", "always", env={"COLORTERM": ""}).stdout
    assert "\x1b[38;2;" in run("show", "plan.h5", "--color", "always",
                               env={"COLORTERM": "truecolor", "NO_COLOR": "1"}).stdout


def test_a_terminal_gets_colours_unless_no_color(run, tmp_path):
    compiled(run)

    def on_terminal(**environment):
        main, terminal = pty.openpty()
        run("show", "plan.h5", stdout=terminal, env={"TERM": "xterm", "NO_COLOR": "", **environment})
        os.close(terminal)
        seen = b""
        try:
            while piece := os.read(main, 65536):
                seen += piece
        except OSError:
            pass
        os.close(main)
        return seen.decode()

    assert "\x1b[38;" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in on_terminal(TERM="dumb")


def test_show_names_what_the_plan_has(run):
    compiled(run, "compile", "causal()", "--q-len", "512", "--passes", "fwd,dq")
    done = run("show", "plan.h5", "--pass", "dkv")
    assert done.returncode == 2 and "expected a plan with the pass dkv, got one with fwd, dq" in done.stderr
    done = run("show", "plan.h5", "--head", "1")
    assert done.returncode == 2 and "expected a head in 0..0, got 1" in done.stderr
