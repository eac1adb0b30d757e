# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles, and lines for the end of the report."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The TPU compiler without a TPU, in more than one process.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import hypothesis
import pytest

# "ci" repeats itself exactly; "deep" draws new cases each time, many more of them.
PROFILES = {"ci": 1, "deep": 10}
PROFILE = os.environ.get("SPLASHMASK_HYPOTHESIS_PROFILE", "ci")

_common = dict(deadline=None, database=None, print_blob=True)
hypothesis.settings.register_profile("ci", derandomize=True, **_common)
hypothesis.settings.register_profile("deep", derandomize=False, **_common)
hypothesis.settings.load_profile(PROFILE)

_lines = pytest.StashKey[list]()


def pytest_configure(config):
    config.addinivalue_line("markers", "tpu_compiler: compiles for a TPU with libtpu")
    config.stash[_lines] = []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[_lines]:
        terminalreporter.section(f"generated cases, profile {PROFILE}")
    for line in config.stash[_lines]:
        terminalreporter.line(line)


@pytest.fixture
def report(request):
    """Adds a line to the end of the report."""
    return request.config.stash[_lines].append


@pytest.fixture
def examples():
    """How many examples the profile wants where "ci" wants n."""
    return lambda n: n * PROFILES[PROFILE]
