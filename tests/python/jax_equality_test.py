# SPDX-License-Identifier: Apache-2.0
"""Every field equals JAX's over generated masks."""

import hypothesis
import hypothesis.strategies as st
import mask_generator
from comparison import Tally, compare
from hypothesis import given


class _DrawnSource:
    def __init__(self, draw):
        self._draw = draw

    def integer(self, low, high):
        return self._draw(st.integers(low, high))

    def choice(self, options):
        return self._draw(st.sampled_from(options))


@st.composite
def random_cases(draw, kind):
    return mask_generator.random_case(_DrawnSource(draw), kind)


def run_random(kind, count, name, report):
    tally = Tally()

    @hypothesis.settings(
        max_examples=count,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @given(random_cases(kind))
    def check(case):
        compare(case, tally)

    check()
    for line in tally.lines(name):
        report(line)
    return tally


def require(tally, features, at_least):
    assert not tally.skipped or tally.compared > 0.7 * tally.cases, tally.skipped
    rare = {f: tally.features[f] for f in features if tally.features[f] < at_least}
    assert not rare, f"expected each at least {at_least} times, got {rare}"


OPTIONS = [
    "q_len != kv_len",
    "q_len == kv_len",
    "one mask",
    "several masks",
    "head_shards",
    "q_seq_shards",
    "shrink_grid=True",
    "shrink_grid=False",
    "downcast_smem_data=True",
    "downcast_smem_data=False",
]


def test_static_masks_and_compositions(report, examples):
    tally = run_random("static", examples(2500), "static masks", report)
    assert tally.compared >= 2000
    leaves = ["causal", "local", "chunked_causal", "full", "dense", "operator &", "operator |"]
    require(tally, OPTIONS + leaves, 150)


def test_reassigned_q_sequence(report, examples):
    tally = run_random("q_sequence", examples(1000), "reassigned q_sequence", report)
    assert tally.compared >= 600
    dtypes = ["int16", "int32", "int64", "uint16", "uint32", "uint64"]
    sequences = ["reassigned q_sequence", "q_sequence out of range"]
    sequences += [f"q_sequence {dtype}" for dtype in dtypes]
    require(tally, OPTIONS + sequences, 20)


def test_every_node(report, examples):
    """Masks that JAX has no class for, handed to JAX as a class of the user's own."""
    tally = run_random("every node", examples(1000), "every node", report)
    kinds = ["empty", "prefix", "q_range", "kv_range", "stride", "documents", "segments", "blocks"]
    require(tally, [f"our {kind}" for kind in kinds + ["reorder", "operator"]], 3)
