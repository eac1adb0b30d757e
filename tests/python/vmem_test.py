# SPDX-License-Identifier: Apache-2.0
"""What is predicted of VMEM, beside what the TPU compiler gave and refused.

data/vmem.csv is what tools/measure_vmem.py had of libtpu 0.0.51; the factors were fitted to it."""

import csv
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from fit_vmem import config_of, kernel_of  # noqa: E402

from splashmask import _core  # noqa: E402

DATA = ROOT / "tests" / "planner" / "data" / "vmem.csv"


@pytest.fixture(scope="module")
def kernels():
    """(row, prediction)."""
    with open(DATA, newline="") as file:
        return [(row, _core.kernel_vmem(row["chip"], kernel_of(row), config_of(row),
                                        int(row["limit_kib"]) << 10)) for row in csv.DictReader(file)]


def test_the_set_is_varied(kernels):
    assert len(kernels) >= 500
    for column, values in {"chip": 5, "kernel": 4, "dtype": 2, "mask": 3, "segments": 2, "fits": 2,
                           "head_dim": 5, "block_q": 6, "block_kv": 6}.items():
        assert len({row[column] for row, _ in kernels}) == values, column


def test_verdicts(kernels):
    """Fits, does not fit, or too close to call: 99 % of what is decided is right, and a "fits" that is
    none is rarer than 1 in 200."""
    decided = [(row, use) for row, use in kernels if use["fit"] != "too close"]
    wrong = [(row, use) for row, use in decided if (use["fit"] == "fits") != (row["fits"] == "1")]
    print(f"{len(kernels)} kernels, {len(kernels) - len(decided)} too close, {len(wrong)} wrong")
    assert len(decided) >= 0.85 * len(kernels)
    assert len(wrong) <= 0.01 * len(decided), wrong
    assert sum(use["fit"] == "fits" for _, use in wrong) <= 0.005 * len(kernels), wrong


def test_bands_hold_the_compilers_numbers(kernels):
    """Of those that fit, of which the whole is known."""
    compiled = [(row, use["total"]) for row, use in kernels if row["fits"] == "1"]
    inside = [total[0] <= int(row["bytes"]) <= total[2] for row, total in compiled]
    assert sum(inside) >= 0.95 * len(inside)
