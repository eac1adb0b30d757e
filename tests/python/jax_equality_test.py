# SPDX-License-Identifier: Apache-2.0
"""Every field equals JAX's over generated masks."""

import generated
import hypothesis.strategies as st
import mask_generator
from comparison import compare


@st.composite
def random_cases(draw, kind):
    return mask_generator.random_case(generated.DrawnSource(draw), kind)


def run(kind, count, name, report):
    tally = generated.run(random_cases(kind), compare, count)
    for line in tally.lines(name, "JAX", "the certifier"):
        report(line)
    assert tally.compared > 0.7 * tally.cases, tally.skipped
    return tally


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
    tally = run("static", examples(2500), "static masks", report)
    assert tally.compared >= 2000
    leaves = ["causal", "local", "chunked_causal", "full", "dense", "operator &", "operator |"]
    tally.require(OPTIONS + leaves, 150)


def test_reassigned_q_sequence(report, examples):
    tally = run("q_sequence", examples(1000), "reassigned q_sequence", report)
    assert tally.compared >= 600
    dtypes = ["int16", "int32", "int64", "uint16", "uint32", "uint64"]
    sequences = ["reassigned q_sequence", "q_sequence out of range"]
    sequences += [f"q_sequence {dtype}" for dtype in dtypes]
    tally.require(OPTIONS + sequences, 20)


def test_every_node(report, examples):
    """Masks that JAX has no class for, handed to JAX as a class of the user's own."""
    tally = run("every node", examples(1000), "every node", report)
    kinds = ["empty", "prefix", "q_range", "kv_range", "stride", "documents", "segments", "blocks"]
    tally.require([f"our {kind}" for kind in kinds + ["reorder", "operator"]], 3)
