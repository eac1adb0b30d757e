# SPDX-License-Identifier: Apache-2.0
"""The buffers that the planner predicts are those of the TPU compiler, byte for byte."""

import collections
import json
import pathlib
import subprocess
import sys

import pytest

import splashmask as sm
import tpu_buffers
from splashmask import _core

pytest.importorskip("libtpu", reason="libtpu, the TPU compiler, is not installed")

pytestmark = pytest.mark.tpu_compiler

# Drawn after the rules were found; none was looked at before.
FIRST, COUNT = 78_000, 50
SCOPED_VMEM = {spec["name"]: spec["scoped_vmem_bytes"] for spec in _core.tpu_specs()}
TAKEN = ("batch", "kv_heads", "head_dim", "head_dim_v", "dtype", "segments", "sinks", "seq_minor",
         "residuals", "tables_are_arguments")


@pytest.fixture(scope="module")
def compiled():
    """What the compiler says of each."""
    script = pathlib.Path(tpu_buffers.__file__)
    done = subprocess.run([sys.executable, script, str(FIRST), str(COUNT)], text=True, timeout=1200,
                          capture_output=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def predicted(c):
    mask = sm.MultiHeadMask([sm.parse(text, (c["q_len"], c["kv_len"])) for text in c["masks"]])
    plan = sm.compile(mask, block_q=c["block_q"], block_kv=c["block_kv"])
    scoped = SCOPED_VMEM[c["chip"]] if c["faster_memory"] else None
    return _core.hbm_buffers(plan._core, chip=c["chip"], scoped_vmem_bytes=scoped,
                             **{name: c[name] for name in TAKEN})


def counted(buffers):
    return collections.Counter(tuple(buffer) for buffer in buffers)


def test_drawn_calls_are_of_every_kind():
    drawn = [tpu_buffers.draw(seed) for seed in range(FIRST, FIRST + COUNT)]
    for name in ("chip", "dtype", "segments", "sinks", "residuals", "tables_are_arguments", "faster_memory"):
        kinds = collections.Counter(c[name] for c in drawn)
        assert len(kinds) == (len(tpu_buffers.CHIPS) if name == "chip" else 2) and min(kinds.values()) > 3


def test_predicted_buffers_are_the_compilers(compiled, report):
    assert len(compiled) == COUNT
    values = 0
    for seed, theirs in zip(range(FIRST, FIRST + COUNT), compiled):
        c = tpu_buffers.draw(seed)
        ours = predicted(c)
        assert counted(buffer[1:] for buffer in ours["buffers"]) == counted(theirs["buffers"]), c
        assert ours["temporary_bytes"] == theirs["temporary_bytes"], c
        assert ours["hbm_bytes"] == theirs["hbm_bytes"], c
        values += len(theirs["buffers"])
    report(f"{COUNT} programs, {values} buffers as the TPU compiler has them")
