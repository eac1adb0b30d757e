#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the source tree to its layers: includes point one way, public headers stand on public
headers alone, the certifier's library needs nothing of what it checks, and every source file names
its licence."""

import argparse
import pathlib
import re
import subprocess
import sys

# What the files of a room may include, beside their own room. A room is the longest entry that a
# path starts with.
ALLOWED = {
    "masks": [],
    "masks/analysis": ["masks"],
    "planner": ["masks"],
    "planner/compile": ["masks", "masks/analysis", "planner"],
    "planner/certify": ["masks", "planner"],
    "planner/cost": ["masks", "planner"],
    "kernels": ["masks", "masks/analysis", "planner"],
    "io": ["masks", "planner", "planner/cost"],
    "cli": ["masks", "planner", "planner/compile", "planner/certify", "planner/cost", "kernels", "io"],
    "python": [
        "masks", "planner", "planner/compile", "planner/certify", "planner/cost", "kernels", "io"
    ],
}

# Files of a room that it may include and that it shall not: what it is there to check.
FORBIDDEN_FILES = {
    "planner/certify": ["masks/where/ranges.h", "masks/where/program.h", "masks/where/find_failure.h"],
}

# A library may not need a symbol of these others, neither itself nor through what it links.
FORBIDDEN_SYMBOLS = {
    "masks": ["mask_analysis", "plan", "compile", "certify"],
    "plan": ["mask_analysis", "compile", "certify"],
    "certify": ["mask_analysis", "compile"],
}

SOURCE_FOLDERS = [
    ".ci", "bench", "cli", "cmake", "examples", "io", "kernels", "masks", "planner", "python", "tests",
    "tools"
]
SOURCE_SUFFIXES = {".h", ".cc", ".py", ".cmake", ".sh"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    """The room of a path relative to the root, or None."""
    rooms = [room for room in ALLOWED if path.startswith(room + "/")]
    return max(rooms, key=len, default=None)


def check_includes(root, public_headers):
    for room in sorted({room.split("/")[0] for room in ALLOWED}):
        for file in sorted(root.glob(f"{room}/**/*")):
            if file.suffix not in (".h", ".cc"):
                continue
            path = file.relative_to(root).as_posix()
            own = room_of(path)
            for bracket, target in INCLUDE.findall(file.read_text()):
                if not target.startswith("splashmask/"):
                    if bracket == '"' and ((file.parent / target).exists() or (root / target).exists()):
                        yield f'{path}: write "{target}" as "splashmask/<room>/..."'
                    continue
                target = target.removeprefix("splashmask/")
                if not (root / target).exists():
                    continue  # Made by the build, or the compiler will say so.
                forbidden = target in FORBIDDEN_FILES.get(own, [])
                if forbidden or room_of(target) not in [own, *ALLOWED[own]]:
                    yield f"{path}: {own} may not include {target}"
                elif path in public_headers and target not in public_headers:
                    yield f"{path}: a public header may not include the private {target}"


def symbols(library, kind):
    output = subprocess.run(["nm", f"--{kind}-only", "--format=posix", library], check=True,
                            capture_output=True, text=True).stdout
    return {line.split()[0] for line in output.splitlines() if len(line.split()) > 1}


def check_symbols(libraries):
    for name, forbidden in FORBIDDEN_SYMBOLS.items():
        needed = symbols(libraries[name], "undefined") - symbols(libraries[name], "defined")
        for other in forbidden:
            for symbol in sorted(needed & symbols(libraries[other], "defined")):
                demangled = subprocess.run(["c++filt", symbol], check=True, capture_output=True,
                                           text=True).stdout.strip()
                yield f"{name} may not need {demangled} of {other}"


def is_source(file):
    return (file.suffix in SOURCE_SUFFIXES or file.name == "CMakeLists.txt" or
            (not file.suffix and file.read_bytes().startswith(b"#!")))


def check_licences(root):
    files = [root / "CMakeLists.txt"]
    for folder in SOURCE_FOLDERS:
        files += sorted((root / folder).glob("**/*"))
    for file in files:
        if "__pycache__" in file.parts or not file.is_file() or not is_source(file):
            continue
        first_lines = file.read_text().split("\n", 2)[:2]
        if not any("SPDX-License-Identifier: Apache-2.0" in line for line in first_lines):
            yield f"{file.relative_to(root)}: the first line does not name the licence (SPDX)"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--public-headers", nargs="+", required=True,
                        help="as they are included, with or without splashmask/")
    parser.add_argument("--libraries", nargs="+", required=True, help="name=path of each library")
    arguments = parser.parse_args()
    public_headers = {header.split("/splashmask/")[-1] for header in arguments.public_headers}
    libraries = dict(entry.split("=", 1) for entry in arguments.libraries)

    problems = [
        *check_includes(arguments.root, public_headers),
        *check_symbols(libraries),
        *check_licences(arguments.root),
    ]
    print("\n".join(problems) or "The layers hold.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
