# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles, and lines for the end of the report."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The TPU compiler without a TPU, in more than one process.
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
# Eight devices to shard over; kernels are interpreted once each, so compiling them is what takes time.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8 "
                      "--xla_backend_optimization_level=0")

import hypothesis
import pytest

# "ci" repeats itself exactly; "deep" draws new cases each time, many more of them.
PROFILES = {"ci": 1, "deep": 10}
PROFILE = os.environ.get("SPLASHMASK_HYPOTHESIS_PROFILE", "ci")

_common = dict(deadline=None, database=None, print_blob=True)
hypothesis.settings.register_profile("ci", derandomize=True, **_common)
hypothesis.settings.register_profile("deep", derandomize=False, **_common)
hypothesis.settings.load_profile(PROFILE)


def pytest_configure(config):
    config.addinivalue_line("markers", "tpu_compiler: compiles for a TPU with libtpu")


def pytest_terminal_summary(terminalreporter):
    reports = [report for many in terminalreporter.stats.values() for report in many
               if getattr(report, "when", None) == "call"]
    lines = [line for report in reports for name, line in report.user_properties if name == "line"]
    if lines:
        terminalreporter.section(f"generated cases, profile {PROFILE}")
    for line in lines:
        terminalreporter.line(line)


@pytest.fixture
def report(request):
    """Adds a line to the end of the report, from whichever process runs the test."""
    return lambda line: request.node.user_properties.append(("line", line))


@pytest.fixture
def examples():
    """How many examples the profile wants where "ci" wants n."""
    return lambda n: n * PROFILES[PROFILE]


@pytest.fixture
def run(tmp_path):
    """Runs the splashmask command in a directory of its own."""
    import command
    return command.in_folder(tmp_path)
