# SPDX-License-Identifier: Apache-2.0
"""splashmask inspect --ggml: totals and geometry of a listing, and what attention would cost."""

import ast
import json
import pathlib
import re

import pytest

LISTING = str(pathlib.Path(__file__).resolve().parents[1] / "io" / "data" / "small_listing.txt")
# What it was made for; its cache holds two bytes an element.
LAYERS, HEADS, KV_HEADS, DIM = 2, 6, 2, 16


def costs_of(is_wanted):
    """Sums of the costs of nodes by name, straight from the text."""
    sums = {}
    for name, costs in re.findall(r"(\S+): [^\n]+\n[^\n]+\n[ |<>-]*costs: (\{[^\n]*\})",
                                  pathlib.Path(LISTING).read_text()):
        if is_wanted(name.lstrip("|<>-")):
            for key, value in ast.literal_eval(costs).items():
                sums[key] = sums.get(key, 0) + int(value)
    return sums


def is_attention(name):
    return re.match(r"(kq|kqv|kq_soft_max_ext)-\d+$", name) is not None


def attention(pairs, keys):
    """Of a layer whose q heads see `pairs` together and whose kv heads are read at `keys`."""
    return {"fmul": pairs * (2 * DIM + 3), "fadd": 3 * pairs, "fexp": pairs,
            "read": keys * 2 * DIM * 2}


def added(*works):
    return {key: sum(work[key] for work in works) for key in works[0]}


def inspect(run, *arguments):
    done = run("inspect", "--ggml", LISTING, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_totals_and_geometry(run):
    result = inspect(run)
    totals = costs_of(lambda name: True)
    del totals["tempsize"]
    assert result["totals"] == totals
    geometry = {key: result[key] for key in ("layers", "heads", "kv_heads", "head_dim", "head_dim_v",
                                             "embedding", "vocabulary", "feed_forward", "kv_len",
                                             "context", "q_len")}
    assert geometry == {"layers": LAYERS, "heads": HEADS, "kv_heads": KV_HEADS, "head_dim": DIM,
                        "head_dim_v": DIM, "embedding": 64, "vocabulary": 96, "feed_forward": 160,
                        "kv_len": 32, "context": 128, "q_len": 1}
    assert result["what_if"] is None
    text = run("inspect", "--ggml", LISTING).stdout
    assert "model    2 layers, 6 heads, 2 kv heads, head_dim 16, embedding 64, vocabulary 96" in text
    assert re.search(rf"^fmul +\S+ +{totals['fmul']:,}$", text, re.MULTILINE)


def test_attention_at_a_length_beside_the_rest(run):
    answer = inspect(run, "--length", "100", "--mask", "causal()", "--mask", "local(9, 0)")["what_if"]
    causal, local = 100 * 101 // 2, sum(min(q + 1, 10) for q in range(100))
    prefill = [attention(HEADS * causal, KV_HEADS * 100), attention(HEADS * local, KV_HEADS * 100)]
    decode = [attention(HEADS * 100, KV_HEADS * 100), attention(HEADS * 10, KV_HEADS * 10)]
    assert [layer["mask"] for layer in answer["attention_layers"]] == ["causal()", "local(9, 0)"]
    assert [layer["layers"] for layer in answer["attention_layers"]] == [1, 1]
    assert [layer["prefill"] for layer in answer["attention_layers"]] == prefill
    assert [layer["decode"] for layer in answer["attention_layers"]] == decode
    assert answer["prefill"]["attention"] == added(*prefill)
    assert answer["decode"]["attention"] == added(*decode)
    others = costs_of(lambda name: not is_attention(name))
    softmax_reads = costs_of(lambda name: name.startswith("kq_soft_max"))["read"]  # The mask.
    rest = {key: others.get(key, 0) for key in ("fmul", "fadd", "fexp", "read")}
    rest["read"] += softmax_reads
    assert answer["decode"]["rest"] == rest
    assert answer["prefill"]["rest"] == {
        key: value * (1 if key == "read" else 100) for key, value in rest.items()}


def test_layers_take_the_masks_in_turns_and_causal_is_the_usual_one(run):
    three = inspect(run, "--length", "64", "--mask", "causal()", "--mask", "full()", "--mask",
                    "prefix(3)")["what_if"]
    assert [layer["layers"] for layer in three["attention_layers"]] == [1, 1, 0]
    assert inspect(run, "--length", "64")["what_if"] == inspect(
        run, "--length", "64", "--mask", "causal()")["what_if"]


def test_keys_are_read_if_any_head_of_the_group_sees_them(run):
    masks = "[causal() * 2, local(9, 0) * 4]"  # Heads 0, 1, 2 share a kv head, and 3, 4, 5.
    answer = inspect(run, "--length", "100", "--mask", masks)["what_if"]["attention_layers"][0]
    assert answer["decode"] == attention(2 * 100 + 4 * 10, 100 + 10)


@pytest.mark.parametrize("arguments, text", [
    ([], "PLAN is required"),
    (["plan.h5", "--ggml", LISTING], "expected PLAN or --ggml, got both"),
    (["plan.h5", "--length", "8"], "expected --ggml beside --length, got it alone"),
    (["plan.h5", "--mask", "full()"], "expected --ggml beside --mask, got it alone"),
    (["--ggml", LISTING, "--mask", "full()"], "expected --length beside --mask, got it alone"),
    (["--ggml", LISTING, "--count"], "expected PLAN beside --count, got --ggml"),
    (["--ggml", LISTING, "--length", "0"], "--length: expected at least 1, got 0"),
    (["--ggml", LISTING, "--length", "64", "--mask", "causl()"], "did you mean 'causal'?"),
    (["--ggml", LISTING, "--length", "64", "--mask", "[full() * 3]"], "expected 6 heads"),
    (["--ggml", "nowhere.txt"], "nowhere.txt: cannot open the file"),
    (["--ggml", __file__], "line 1: expected 'Size of temporary storage is up to"),
])
def test_bad_arguments(run, arguments, text):
    done = run("inspect", *arguments)
    assert done.returncode == 2
    assert text in done.stderr and done.stdout == ""


def test_a_listing_that_contradicts_itself(run, tmp_path):
    text = pathlib.Path(LISTING).read_text()
    changed = text.replace("'fsin': ", "'fsin': 1", 1)
    assert changed != text
    (tmp_path / "changed.txt").write_text(changed)
    done = run("inspect", "--ggml", "changed.txt")
    assert done.returncode == 2
    assert re.search(r"expected the nodes' fsin to add up to the total \S+ of line \d+, got \d+",
                     done.stderr)
