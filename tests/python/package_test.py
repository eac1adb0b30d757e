# SPDX-License-Identifier: Apache-2.0
"""The installed package: what is in it, and what a missing system package says."""

import importlib.metadata
import pathlib
import re
import subprocess
import sys

import pytest

import splashmask as sm

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = pathlib.Path(sm.__file__).parent


def test_the_tests_run_on_the_installed_wheel():
    files = {str(file) for file in importlib.metadata.files("splashmask")}
    for name in ("__init__.py", "py.typed", "_core.pyi", "jax.py"):
        assert f"splashmask/{name}" in files
    assert not any(re.search(r"\.(h|a|cmake)$", name) for name in files), "nothing of C++"
    assert str(PACKAGE).startswith(sys.prefix)


def test_one_version():
    command = subprocess.run([pathlib.Path(sys.executable).parent / "splashmask", "--version"],
                             capture_output=True, text=True, check=True)
    assert command.stdout == f"splashmask {sm.__version__}\n"
    assert importlib.metadata.version("splashmask") == sm.__version__


def test_everything_exported_is_documented():
    assert sm.__all__ == sorted(sm.__all__)
    for name in sm.__all__:
        value = getattr(sm, name)
        assert name == "__version__" or value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name, debian", [
    ("TBB", "libtbb-dev"), ("Boost", "libboost1.81-dev libboost-json1.81-dev"),
    ("OpenSSL", "libssl-dev"), ("fmt", "libfmt-dev"), ("PkgConfig", "pkg-config")])
def test_a_missing_system_package_is_named(tmp_path, name, debian):
    done = subprocess.run(["cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja",
                           f"-DCMAKE_DISABLE_FIND_PACKAGE_{name}=ON"],
                          capture_output=True, text=True)
    assert done.returncode != 0
    assert f"splashmask needs {name}: apt-get install {debian}" in " ".join(done.stderr.split())
