# SPDX-License-Identifier: Apache-2.0
"""Where the command writes: files and streams that take nothing, progress, Ctrl-C."""

import os
import re
import resource
import signal
import subprocess

import pytest

from command import CAUSAL, compiled, in_terminal


@pytest.mark.parametrize("output, text", [
    ("nowhere/plan.h5", "No such file or directory"),
    ("folder", "expected a regular file or a new name, got a directory"),
    ("file/plan.h5", "Not a directory"),
    ("/dev/full", "got a device"),
])
def test_unwritable_output(run, tmp_path, output, text):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    done = run(*CAUSAL, "-o", output)
    assert done.returncode == 3 and text in done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_an_output_that_does_not_fit_leaves_the_old_file(run, tmp_path):
    (tmp_path / "plan.h5").write_text("old")

    def limit_file_size():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    done = run(*CAUSAL, "-o", "plan.h5", preexec_fn=limit_file_size)
    assert done.returncode == 3 and "plan.h5: cannot write the file: File too large" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["plan.h5"]
    assert (tmp_path / "plan.h5").read_text() == "old"


def test_standard_output_that_takes_nothing(run):
    with open("/dev/full", "w") as full:
        done = run(*CAUSAL, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert "bytes to standard output, got: No space left on device" in done.stderr


def test_closed_standard_streams_do_not_harm_the_plan(run, tmp_path):
    done = run(*CAUSAL, "-o", "plan.h5", preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])
    assert done.returncode == 3  # The summary had nowhere to go.
    assert run("verify", "plan.h5").returncode == 0


def test_a_reader_that_leaves(run, tmp_path):
    compiled(run, "compile", "causal()", "--q-len", "262144", "--empty-rows", "allow")
    read, write = os.pipe()
    os.close(read)
    done = run("show", "plan.h5", "--json", stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 3 and "Broken pipe" in done.stderr


# --- Progress and Ctrl-C. Many distinct blocks, so that it takes a while on any machine.

SLOW = ["compile", "(stride(3) ^ stride(7)) - reorder(local(100, 5), q=striped(16)) | "
        "reorder(stride(11), q=zigzag(4))", "--q-len", "65536", "--empty-rows", "allow", "--passes",
        "fwd", "--threads", "1", "-o", "plan.h5"]


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    (tmp_path / "plan.h5").write_text("old")
    code, output, seen = in_terminal(SLOW, tmp_path, interrupt_at="compile ")
    assert code == 130
    assert output == ""
    assert seen.endswith("splashmask: interrupted\r\n")
    assert [file.name for file in tmp_path.iterdir()] == ["plan.h5"]
    assert (tmp_path / "plan.h5").read_text() == "old"


def test_progress_is_shown_and_wiped(tmp_path):
    code, output, seen = in_terminal(SLOW, tmp_path)
    assert code == 0 and "wrote plan.h5" in output
    assert re.search(r"compile [█░]{32} +\d+ %", seen)
    assert seen.endswith("\r\x1b[K")


def test_no_progress_for_quick_work_or_files(run, tmp_path):
    code, _, seen = in_terminal([*CAUSAL, "-o", "plan.h5"], tmp_path)
    assert code == 0 and seen == ""
    assert run(*SLOW).stderr == ""


@pytest.mark.parametrize("command", [[], ["compile"], ["inspect"], ["show"], ["verify"], ["explain"], ["diff"],
                                     ["plan"], ["run"], ["bench", "attention"], ["bench", "compile"]])
def test_help_is_as_wide_as_a_terminal(run, command):
    """The options; what follows them is written by hand, and examples are as long as they are."""
    text = run(*command, "--help").stdout
    options = text[text.index("Options:"):].split("\n\n")[0] if "Options:" in text else text
    assert max(map(len, options.splitlines())) <= 80
    assert len(text.splitlines()[0]) <= 80
