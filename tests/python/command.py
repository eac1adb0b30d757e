# SPDX-License-Identifier: Apache-2.0
"""Running the splashmask command: what its tests share."""

import os
import pty
import select
import signal
import subprocess
import sys

import h5py

BINARY = os.environ["SPLASHMASK_BIN"]
CAUSAL = ["compile", "causal()", "--q-len", "4096"]


def in_folder(folder):
    """A function that runs the command there."""

    def call(*arguments, **options):
        environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
        environment.update(options.pop("env", {}))
        return subprocess.run([BINARY, *arguments], cwd=folder, env=environment, text=True,
                              capture_output=not {"stdout", "stderr"} & options.keys(), **options)

    return call


def compiled(run, *arguments, name="plan.h5"):
    done = run(*(arguments or CAUSAL), "-o", name)
    assert done.returncode == 0, done.stderr
    return name


def edit(path, change):
    """Applies change(file) to a plan, as another HDF5 tool might."""
    with h5py.File(path, "r+") as file:
        change(file)


def expect_refusal(done, text, folder):
    """Exit 2 with that message, and the old plan.h5 of the folder untouched."""
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert done.stderr.startswith("splashmask: [")
    assert done.stdout == ""
    assert (folder / "plan.h5").read_text() == "old"
    assert not [file for file in folder.iterdir() if file.suffix not in (".h5", ".npy")]


def in_terminal(arguments, cwd, interrupt_at=None):
    """Runs the command on one processor with a terminal for standard error; sends Ctrl-C when the
    text `interrupt_at` shows up there. Returns (exit code, stdout, stderr)."""
    main, terminal = pty.openpty()
    one_processor = {min(os.sched_getaffinity(0))}
    process = subprocess.Popen([BINARY, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=terminal,
                               preexec_fn=lambda: os.sched_setaffinity(0, one_processor))
    os.close(terminal)
    seen = b""
    while True:
        select.select([main], [], [])
        try:
            piece = os.read(main, 65536)
        except OSError:  # The other end of the terminal is closed.
            break
        seen += piece
        if interrupt_at and interrupt_at in seen.decode(errors="ignore"):
            process.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(main)
    output = process.stdout.read().decode()
    process.stdout.close()
    return process.wait(), output, seen.decode()


def python_program(folder, change):
    """A Python that runs what it is handed after a change to its text, `source`."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, sys\nsource = sys.argv[2]\n{change}\n"
                    "exec(compile(source, 'peers', 'exec'))\n")
    path.chmod(0o755)
    return str(path)


def processes_of(folder):
    """Those whose environment names that folder."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{process}/environ", "rb") as environment:
                if str(folder).encode() in environment.read():
                    found.append(process)
        except OSError:
            pass
    return found
