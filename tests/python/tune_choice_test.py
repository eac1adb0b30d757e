# SPDX-License-Identifier: Apache-2.0
"""The block sizes that tune picks, beside those that were measured to be the fastest.

tokamax's autotuning cache (tests/planner/data/tokamax_timings.csv; Apache-2.0, The Tokamax Authors) has of
each shape only the winner of a search through some hundreds of configurations, of some shapes those of
several revisions. The model that judges here was fitted without the shape in question."""

import collections
import functools
import importlib.util
import pathlib

import numpy as np
import pytest

import splashmask as sm

pytest.importorskip("scipy", reason="tools/fit_time_model.py needs scipy")

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "planner" / "data"
_spec = importlib.util.spec_from_file_location("fit_time_model", ROOT / "tools" / "fit_time_model.py")
fit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fit)

SIZES = ["block_q", "block_kv", "block_kv_compute", "q_layout", "k_layout", "v_layout", "lp"]
LAYOUTS = {"HEAD_DIM_MINOR": 1, "SEQ_MINOR": 2}


def shape_of(row):
    return tuple(row[name] for name in fit.SHAPE)


@functools.cache
def timings():
    return fit.mean_over_revisions(fit.read(DATA / "tokamax_timings.csv"))


def shapes_of_several_revisions():
    revisions = collections.defaultdict(set)
    for row in fit.read(DATA / "tokamax_timings.csv"):
        revisions[row["chip"], row["kernel"], shape_of(row)].add(row["revision"])
    return [key for key, of_shape in revisions.items() if len(of_shape) > 1]


def picked(chip, kernel, row):
    """The fastest of tokamax's configurations by tune, as a row, and the kernel. Its search through
    backward kernels leaves layouts alone."""
    mask = sm.parse("causal()" if row["causal"] else "full()", (row["length"], row["length"]))
    fixed = {} if kernel == "fwd" else dict.fromkeys(("q_layout", "k_layout", "v_layout"), "HEAD_DIM_MINOR")
    best = None
    for lp in (0, 1) if kernel == "fwd" else (0,):
        tuned = sm.tune(sm.MultiHeadMask([mask] * row["heads"]), chip=chip, head_dim=row["head_dim"],
                        head_dim_v=row["head_dim_v"], kv_heads=row["kv_heads"], batch=row["batch"],
                        backward=kernel != "fwd" or bool(row["residuals"]), library="tokamax",
                        use_experimental_scheduler=bool(lp), **fixed)
        for call in (tuned, *tuned.others):
            found = call.kernels[0 if kernel == "fwd" else 1]
            if best is None or found.seconds < best[0].seconds:
                layouts = {name: LAYOUTS[call.block_sizes[name]] for name in SIZES[3:6]}
                best = found, layouts | {"lp": lp}
    found, others = best
    sizes = {name: getattr(found, name) for name in SIZES[:3]}
    return row | sizes | others, found


@pytest.fixture(scope="module")
def choices():
    """Of each shape: milliseconds of the pick and of the best measured one as the model without the shape
    has them, what was measured, and the kernel."""
    schedules = fit.fit_schedules(fit.read(DATA / "tpu_schedules.csv"))
    result = []
    for chip, kernel, shape in shapes_of_several_revisions():
        schedule = schedules["tokamax", chip, kernel][0]
        rows = [row for row in timings() if (row["chip"], row["kernel"]) == (chip, kernel)]
        constants = fit.fit_times([fit.Row(row, schedule) for row in rows if shape_of(row) != shape])
        best = min((row for row in rows if shape_of(row) == shape), key=lambda row: row["milliseconds"])
        pick, found = picked(chip, kernel, best)
        predict = lambda row: fit.Row(row, schedule).predict(constants)
        result.append((predict(pick), predict(best), best["milliseconds"], found))
    return result


def test_picks_are_within_5_percent_of_the_best_measured(choices):
    assert len(choices) >= 100
    pick, best = (np.array([choice[i] for choice in choices]) for i in (0, 1))
    assert (pick <= 1.05 * best).all(), (pick / best).max()


def test_what_is_further_from_the_measured_time_is_said_to_be_unsure(choices):
    """Where the prediction of the pick is not within 5 % of the fastest time that was measured, there
    are others that tune calls as good."""
    far = [found.as_good for pick, _, measured, found in choices if abs(pick / measured - 1) > 0.05]
    assert len(far) < 0.3 * len(choices)
    assert all(as_good > 0 for as_good in far)


def test_the_error_of_comparisons(choices):
    """The winner beat the pick, or was it. By how much the model prefers its pick is how wrong it is
    about the two, at least; planner/cost/tune.h has the number."""
    preferred = np.array([1 - pick / best for pick, best, _, _ in choices])
    error = np.sqrt((preferred ** 2).mean())
    stated = sm.tune(sm.CausalMask((128, 128)), chip="v6e", backward=False).comparison_error
    assert 0.8 * stated < error <= stated
