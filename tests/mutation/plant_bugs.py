#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants one bug after another in a copy of one source file, links it in front of the libraries, and
expects the program to exit 1: a mismatch found by the certifier, neither a crash nor an error."""

import argparse
import concurrent.futures
import itertools
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tomllib


class Planter:
    """Knows how the build compiles each file and links the program."""

    def __init__(self, root, build, target, ninja, launcher):
        self._root = root
        self._build = build
        self._launcher = [launcher] if launcher else []
        commands = json.loads((build / "compile_commands.json").read_text())
        self._compile = {entry["file"]: shlex.split(entry["command"]) for entry in commands}
        steps = subprocess.run([ninja, "-C", build, "-t", "commands", target], check=True,
                               capture_output=True, text=True).stdout
        link = shlex.split(steps.splitlines()[-1])
        self._link = link[link.index("&&") + 1:len(link) - link[::-1].index("&&") - 1]

    def _run(self, command):
        result = subprocess.run(command, cwd=self._build, capture_output=True, text=True, timeout=300)
        return result.returncode, result.stdout + result.stderr

    def _object(self, file, scratch):
        """Compiles `file`, or the planted copy of it, seeing planted copies before originals."""
        command = list(self._compile[str(self._root / file)])
        copy = scratch / "splashmask" / file
        output = scratch / (file.replace("/", "_") + ".o")
        command[command.index("-o") + 1] = str(output)
        command[command.index("-c") + 1] = str(copy if copy.exists() else self._root / file)
        first_flag = next(i for i, word in enumerate(command) if word.startswith("-"))
        command.insert(first_flag, f"-I{scratch}")
        command += ["-O0", "-w"]  # Quick; and a bug may leave a variable unused.
        status, output_text = self._run(self._launcher + command)
        if status != 0:
            raise RuntimeError(f"does not compile:\n{output_text}")
        return str(output)

    def _files_to_compile(self, file):
        """The file itself, or the sources that include the header `file`."""
        if file.endswith(".cc"):
            return [file]
        include = f'#include "splashmask/{file}"'
        return [
            source.relative_to(self._root).as_posix()
            for source in sorted((self._root / file).parent.glob("*.cc"))
            if include in source.read_text()
        ]

    def plant(self, bug, scratch):
        """Returns what is wrong with this bug, or None when the certifier caught it."""
        text = (self._root / bug["file"]).read_text()
        if text.count(bug["from"]) != 1:
            return f"the text to replace occurs {text.count(bug['from'])} times"
        shutil.rmtree(scratch, ignore_errors=True)
        copy = scratch / "splashmask" / bug["file"]
        copy.parent.mkdir(parents=True)
        copy.write_text(text.replace(bug["from"], bug["to"]))
        objects = [self._object(file, scratch) for file in self._files_to_compile(bug["file"])]
        program = scratch / "program"
        command = list(self._link)
        output = command.index("-o")
        command[output + 1] = str(program)
        # In front of the libraries: a member of an archive that is not needed stays out.
        command[output:output] = objects
        status, output_text = self._run(command)
        if status != 0:
            return f"does not link:\n{output_text}"
        status, output_text = self._run([program])
        if status != 1:
            return f"not caught: exit status {status}\n{output_text}"
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--ninja", required=True)
    parser.add_argument("--launcher", default="", help="of the compiler, such as ccache")
    parser.add_argument("--bugs", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    planter = Planter(arguments.root, arguments.build, arguments.target, arguments.ninja,
                      arguments.launcher)
    bugs = tomllib.loads(arguments.bugs.read_text())["bug"]

    def attempt(number, bug):
        try:
            # A folder of its own, the same every time: a compiler cache knows it.
            return planter.plant(bug, arguments.build / "planted" / str(number))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            return str(error)

    caught = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for bug, problem in zip(bugs, pool.map(attempt, itertools.count(), bugs)):
            caught += problem is None
            if problem is not None:
                print(f"{bug['file']}: {bug['note']}: {problem}")
    print(f"{caught} of {len(bugs)} planted bugs caught")
    return 0 if caught == len(bugs) else 1


if __name__ == "__main__":
    sys.exit(main())
