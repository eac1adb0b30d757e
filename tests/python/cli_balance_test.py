# SPDX-License-Identifier: Apache-2.0
"""splashmask plan --balance: what it tells, and the files that it writes."""

import json
import re

import numpy as np
import pytest

import splashmask as sm

LOCAL, PACKED = "causal() & local(99, 0)", "causal() & documents([700, 60, 200, 64])"
SIZES = ["--q-len", "1024", "--block-q", "32", "--block-kv", "64", "--shards", "4"]
BOTH = [LOCAL, PACKED, "--weights", "5,1", *SIZES]


def balanced(run, *arguments):
    done = run("plan", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("unit", ["blocks", "pairs"])
@pytest.mark.parametrize("method", ["contiguous", "zigzag", "striped", "lpt"])
def test_as_in_python(run, method, unit):
    result = balanced(run, "--balance", method, *BOTH, "--unit", unit)
    masks = [sm.parse(text, (1024, 1024)) for text in (LOCAL, PACKED)]
    expected = {name: sm.balance(masks, shards=4, weights=[5, 1], method=name, unit=unit, block_q=32,
                                 block_kv=64)
                for name in ("contiguous", "zigzag", "striped", "lpt")}
    chosen = expected[method]
    assert {key: result[key] for key in ("q_len", "kv_len", "block_q", "block_kv", "shards", "method",
                                         "unit", "permutation")} == {
        "q_len": 1024, "kv_len": 1024, "block_q": 32, "block_kv": 64, "shards": 4, "method": method,
        "unit": unit, "permutation": None}
    assert result["imbalance"] == pytest.approx(chosen.imbalance)
    assert result["imbalance_before"] == pytest.approx(chosen.imbalance_before)
    weights = np.array([5, 1])
    for name, balance in expected.items():
        of_method = result["methods"][name]
        for counted in ("blocks", "pairs"):
            work = weights @ getattr(balance, counted)
            assert of_method[counted] == pytest.approx(work.max() / work.mean())
        assert of_method["visited_blocks"] == (weights @ balance.blocks).sum()
    for counted in ("blocks", "pairs"):
        of_masks = getattr(chosen, counted)
        assert result["work"][counted] == (weights @ of_masks).tolist()
        assert [mask["work"][counted] for mask in result["masks"]] == of_masks.tolist()
    for i, mask in enumerate(result["masks"]):
        assert (mask["mask"], mask["weight"], mask["num_heads"], mask["file"]) == (
            (LOCAL, PACKED)[i], (5, 1)[i], 1, None)
        assert mask["kv_ranges"] == [ranges.tolist() for ranges in chosen.kv_ranges[i]]
    if method == "striped":
        assert result["q_ranges"] is None
    else:
        positions = [p for shard in result["q_ranges"] for begin, end in shard
                     for p in range(begin, end)]
        assert positions == chosen.permutation.tolist()


def test_plans_and_the_permutation(run, tmp_path):
    result = balanced(run, "--balance", "lpt", *BOTH, "--heads", "3", "-o", "local.h5", "-o",
                      "packed.h5", "--permutation", "order.npy")
    assert result["permutation"] == "order.npy"
    order = np.load(tmp_path / "order.npy")
    assert order.dtype == np.int32
    for mask, text in zip(result["masks"], (LOCAL, PACKED)):
        assert mask["num_heads"] == 3
        assert run("verify", mask["file"]).returncode == 0
        plan = sm.load(tmp_path / mask["file"])
        assert plan.q_seq_shards == 4
        expected = sm.reorder(sm.parse(text, (1024, 1024)), q=order)
        assert plan.mask == sm.MultiHeadMask([expected] * 3)
        rows = sm.count(expected, rows=True).reshape(4, -1).sum(1)
        assert mask["work"]["pairs"] == (3 * rows).tolist()
    again = run("compile", f'reorder({LOCAL}, q="order.npy")', "--q-len", "1024", "--heads", "3",
                "--block-q", "32", "--block-kv", "64", "--q-seq-shards", "4", "-o", "again.h5")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "local.h5").read_bytes()


def test_text(run):
    done = run("plan", "--balance", "lpt", *BOTH)
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("1,024 q x 1,024 kv, 4 shards of 256 q positions, blocks 32 x 64\n"
                           f"weight 5   {LOCAL}\n")
    result = balanced(run, "--balance", "lpt", *BOTH)
    for name, of_method in result["methods"].items():
        row = re.search(rf"^{name} +(\S+) +(\S+) +(\S+)", text, re.MULTILINE)
        assert row.groups() == (f"{of_method['blocks']:.3f}", f"{of_method['pairs']:.3f}",
                                f"{of_method['visited_blocks']:,}")
    assert re.search(r"^lpt .*  <-$", text, re.MULTILINE)
    for shard, (blocks, pairs) in enumerate(zip(*(result["work"][unit]
                                                  for unit in ("blocks", "pairs")))):
        assert re.search(rf"^{shard} +\d\.\d{{3}} +{blocks:,} +{pairs:,}  \d", text, re.MULTILINE)
    needs = [sum(end - begin for begin, end in ranges) for ranges in result["masks"][0]["kv_ranges"]]
    assert f"needs {min(needs):,} to {max(needs):,} of 1,024 kv positions a shard" in text


def test_an_axis_that_zigzag_cannot_cut(run):
    arguments = ["causal()", "--q-len", "15", "--block-q", "1", "--block-kv", "3", "--shards", "3"]
    assert balanced(run, "--balance", "lpt", *arguments)["methods"]["zigzag"] is None
    done = run("plan", "--balance", "lpt", *arguments)
    assert re.search("^zigzag .* 6 does not divide q_len$", done.stdout, re.MULTILINE)
    done = run("plan", "--balance", "zigzag", *arguments)
    assert done.returncode == 2
    assert "[mask] expected zigzag(n) with 2n to divide q_len (15), got n = 3" in done.stderr


@pytest.mark.parametrize("arguments, text", [
    (["causal()", *SIZES, "--balance", "best"], "best not in {contiguous,zigzag,striped,lpt}"),
    ([*SIZES, "--balance", "lpt"], "expected at least one MASK beside --balance, got none"),
    ([*SIZES[:-2], "--balance", "lpt", "causal()"], "expected --shards beside --balance"),
    (["causal()", *SIZES, "--balance", "lpt", "--weights", "5,1"],
     "expected a weight for each of 1 masks, got 2"),
    (["causal()", *SIZES, "--balance", "lpt", "--weights", "5,"],
     "--weights: expected a whole number, got ''"),
    (["causal()", *SIZES, "--balance", "lpt", "--weights", "0"],
     "--weights: expected at least 1, got 0"),
    ([*BOTH, "--balance", "lpt", "-o", "plan.h5"], "expected -o once for each of 2 masks, got 1"),
    (["causal()", "--q-len", "1024", "--shards", "3", "--balance", "lpt"],
     "[balance] expected as many q blocks in each shard, got q_len 1024, shards 3 and block_q 512"),
    (["causal()", "--shards", "2", "--balance", "lpt"], "expected --q-len beside a mask's text"),
    (["causl()", *SIZES, "--balance", "lpt"], "did you mean 'causal'?"),
])
def test_bad_arguments(run, arguments, text):
    done = run("plan", *arguments)
    assert done.returncode == 2
    assert text in done.stderr and done.stdout == ""
