# SPDX-License-Identifier: Apache-2.0
"""splashmask plan: how long kernels take, whether they fit a chip, and what would. What the compiler says of the same
numbers is in vmem_test.py."""

import json
import re

import pytest

import splashmask as sm
from command import compiled, in_folder

CALL = ["--q-len", "4096", "--heads", "8", "--chip", "v6e"]
LARGE = ["causal()", "--q-len", "32768", "--heads", "8", "--chip", "v5p", "--block-q", "2048",
         "--block-kv", "2048"]


@pytest.fixture
def run(tmp_path):
    return in_folder(tmp_path)


def answer_of(run, *arguments, code=0):
    done = run("plan", *arguments, "--json")
    assert done.returncode == code, done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout)


def kernels_of(answer):
    return [kernel["kernel"] for kernel in answer["kernels"]]


def as_options(kernel, blocks):
    suffix = {"dq": "-dq", "dkv": "-dkv", "fused": "-dkv"}.get(kernel, "")
    sizes = [f"--block-q{suffix}", blocks["q"], f"--block-kv{suffix}", blocks["kv"]]
    if kernel != "dq":
        sizes += [f"--block-kv{suffix}-compute", blocks["kv_compute"]]
    return [str(size) for size in sizes]


def test_small_blocks_fit(run):
    answer = answer_of(run, "causal()", *CALL)
    assert answer["fits"] is True and answer["misfit"] is None
    assert kernels_of(answer) == ["fwd", "fwd_residuals", "dq", "dkv"]
    for kernel in answer["kernels"]:
        vmem = kernel["vmem"]
        assert sum(window["bytes"] for window in vmem["windows"]) == vmem["window_bytes"]
        assert vmem["least"] <= vmem["bytes"] <= vmem["most"] <= vmem["limit"] == 32 << 20
        assert kernel["smem"]["bytes"] == sum(t["bytes"] for t in kernel["smem"]["tables"])


def test_times_follow_the_work(run):
    """A causal mask takes about half of what no mask takes; the slowest of shards is told."""
    long = ["--q-len", "32768", "--heads", "8", "--chip", "tpu7x", "--passes", "fwd", "--block-q",
            "1024", "--block-kv", "1024"]
    full, causal, sharded = (
        answer_of(run, *arguments, *long)["kernels"][0]["time"] for arguments in
        (["full()"], ["causal()"], ["causal()", "--q-seq-shards", "4"]))
    for time in (full, causal, sharded):
        parts = [time[name] for name in ("products", "vector", "hbm", "overhead")]
        assert 0 < max(parts[:3]) <= time["kernel"] <= sum(parts)
        assert time["total"] == pytest.approx(time["kernel"] + time["around"])
        assert 0 < time["relative_uncertainty"] < 1
        assert any("timings" in reason or "timed" in reason for reason in time["extrapolated"])
    assert full["mean_of_shards"] == full["total"]
    assert 0.4 < causal["total"] / full["total"] < 0.65
    # The last quarter of the rows of a triangle: 7/16 of it, 7/4 of the mean.
    assert 1.5 < sharded["total"] / sharded["mean_of_shards"] < 1.8


def test_passes_and_the_fused_kernel(run):
    assert kernels_of(answer_of(run, "causal()", *CALL, "--passes", "fwd")) == ["fwd"]
    fused = answer_of(run, "causal()", *CALL, "--fused-bwd")
    assert kernels_of(fused) == ["fwd", "fwd_residuals", "fused"]


def test_text_fits_a_terminal_and_tells_the_same(run):
    done = run("plan", *LARGE)
    assert done.returncode == 1
    assert "does not fit\nVMEM of fwd is the first that does not fit, by " in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert run("plan", "full()", *CALL).stdout.endswith("\nfits\n")


def test_the_nearest_blocks_and_the_least_limit_fit(run):
    answer = answer_of(run, *LARGE, "--passes", "fwd", code=1)
    misfit = answer["misfit"]
    assert misfit["kernel"] == "fwd" and misfit["memory"] == "VMEM"
    assert misfit["bytes_over"] == (answer["kernels"][0]["vmem"]["bytes"] - (16 << 20))
    smaller = LARGE[:-4] + ["--passes", "fwd", *as_options("fwd", misfit["nearest"])]
    assert answer_of(run, *smaller)["fits"] is True
    enough = str(misfit["least_limit_kib"])
    larger = LARGE + ["--passes", "fwd", "--scoped-vmem-limit-kib"]
    assert answer_of(run, *larger, enough)["fits"] is True
    assert answer_of(run, *larger, str(int(enough) - 1))["fits"] is None


def test_smem_wants_larger_blocks(run):
    million = ["causal()", "--q-len", "1048576", "--chip", "v5e", "--passes", "dkv"]
    answer = answer_of(run, *million, code=1)
    misfit, smem = answer["misfit"], answer["kernels"][0]["smem"]
    # data_next is int16 and block_mask int8, [1, 2048, 2048].
    assert [table["bytes"] for table in smem["tables"]] == [8 << 20, 4 << 20]
    assert misfit["memory"] == "SMEM" and misfit["bytes_over"] == (11 << 20) + 1100
    assert misfit["least_limit_kib"] is None
    fitting = answer_of(run, *million, *as_options("dkv", misfit["nearest"]))
    assert fitting["fits"] is True


def test_the_compiler_keeps_some_smem(run):
    """Tables that fit by themselves, but not beside that."""
    alone = ["causal()", "--q-len", "31744", "--kv-len", "180224", "--block-q", "128", "--block-kv",
             "128", "--no-shrink", "--chip", "v6e", "--passes", "fwd"]
    answer = answer_of(run, *alone, code=1)
    assert answer["kernels"][0]["smem"]["bytes"] == 1023 << 10
    assert answer["misfit"]["bytes_over"] == (1023 << 10) + 1100 - (1 << 20)
    assert answer["misfit"]["nearest"]["q"] % 128 == 0


def test_where_nothing_near_fits(run):
    """At once, however many sizes there are between."""
    far = ["full()", "--q-len", "128", "--kv-len", str(1 << 39), "--block-q", "128", "--block-kv",
           str(1 << 39), "--chip", "v6e", "--passes", "fwd"]
    assert answer_of(run, *far, code=1)["misfit"]["nearest"] is None
    assert run("plan", *far).stdout.endswith("no blocks within 16 times of these fit\n")


def test_a_limit_does_not_mend_tables(run):
    both = ["causal()", "--q-len", "1048576", "--no-shrink", "--chip", "v6e", "--passes", "fwd",
            "--scoped-vmem-limit-kib", "1000"]
    misfit = answer_of(run, *both, code=1)["misfit"]
    assert misfit["memory"] == "VMEM" and misfit["least_limit_kib"] is None


def test_a_limit_inside_the_band_is_too_close_to_call(run):
    alone = ["full()", *CALL, "--passes", "fwd"]
    needs = answer_of(run, *alone)["kernels"][0]["vmem"]["most"]
    limit = ["--scoped-vmem-limit-kib", str(needs // 1024 - 1)]
    assert answer_of(run, *alone, *limit)["fits"] is None
    assert run("plan", *alone, *limit).stdout.endswith("\ntoo close to call\n")


def test_a_plan_file_answers_as_its_text_does(run):
    sizes = ["--q-len", "4096", "--heads", "8", "--block-q", "256", "--block-kv", "1024"]
    plan = compiled(run, "compile", "causal() & stride(3)", *sizes)
    chip = ["--chip", "v4", "--kv-heads", "2", "--block-kv-compute", "512"]
    assert answer_of(run, plan, *chip) == answer_of(run, "causal() & stride(3)", *sizes, *chip)


def test_hbm_of_the_programs(run):
    """q, k, v, out, do and gradients have [8, 4096, 128] of bfloat16 and no padding, logsumexp takes 128 KiB."""
    array, logsumexp = 8 << 20, 8 * 4096 * 4
    kernels = answer_of(run, "causal()", *CALL)["kernels"]
    hbm = {kernel["kernel"]: kernel["hbm"] for kernel in kernels}
    arguments = [3 * array, 3 * array, 5 * array + logsumexp, 5 * array + logsumexp]
    assert [use["arguments"] for use in hbm.values()] == arguments
    # Those with more than one output have a table of pointers to them, in 32 bytes.
    assert [use["outputs"] for use in hbm.values()] == [
        array, array + logsumexp + 32, array, 2 * array + 32]
    assert {use["tables"] for use in hbm.values()} == {2 * 1024}  # s8[1, 8, 8], twice.
    for use in hbm.values():
        assert use["fits"] is True and use["limit"] == int(31.24 * (1 << 30))
        parts = ("arguments", "tables", "temporaries", "outputs")
        assert use["bytes"] == sum(use[part] for part in parts)
    # The fused kernel writes a dq for each of the 8 kv blocks, beside what dkv has.
    fused = answer_of(run, "causal()", *CALL, "--fused-bwd")["kernels"][2]["hbm"]
    assert 8 * array < fused["temporaries"] - hbm["dkv"]["temporaries"] < 8 * array + (32 << 10)


def test_hbm_breaks_last(run):
    long = ["causal()", "--q-len", "131072", "--heads", "32", "--chip", "v5e", "--block-q", "1024",
            "--block-kv", "1024", "--block-kv-compute", "512", "--block-kv-dkv-compute", "512"]
    answer = answer_of(run, *long, "--fused-bwd", code=1)
    hbm = answer["kernels"][2]["hbm"]
    assert [kernel["hbm"]["fits"] for kernel in answer["kernels"]] == [True, True, False]
    assert answer["misfit"] == {"kernel": "fused", "memory": "HBM", "nearest": None,
                                "bytes_over": hbm["bytes"] - hbm["limit"], "least_limit_kib": None}
    done = run("plan", *long, "--fused-bwd")
    assert done.stdout.splitlines()[-1].startswith("HBM of fused is the first that does not fit, by ")
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    # Two kernels need no dq of each kv block.
    assert answer_of(run, *long)["fits"] is True


def test_shards_take_less_hbm(run):
    """Theirs are arguments of the program, cut along heads and q."""
    whole = answer_of(run, "causal()", *CALL)["kernels"][0]["hbm"]
    cut = answer_of(run, "causal()", *CALL, "--head-shards", "2", "--q-seq-shards", "4")["kernels"][0]["hbm"]
    assert whole["arguments"] == 3 * 8 << 20
    assert cut["arguments"] == (8 << 20) // 8 + 2 * (8 << 20) // 2  # kv is cut along heads alone.
    assert cut["outputs"] == whole["outputs"] // 8
    assert cut["tables"] == 2 * 512 + 1024 * 4  # s8[1, 2, 8], twice, and q_sequence.


def test_shards_are_cut_first(run):
    whole = answer_of(run, "causal()", *CALL, "--kv-heads", "4")
    cut = answer_of(run, "causal()", *CALL, "--kv-heads", "4", "--head-shards", "2",
                    "--q-seq-shards", "4")
    assert (cut["heads"], cut["kv_heads"], cut["q_len"], cut["kv_len"]) == (4, 2, 1024, 4096)
    assert (whole["heads"], whole["kv_heads"], whole["q_len"]) == (8, 4, 4096)
    tables = [kernel["smem"]["bytes"] for kernel in cut["kernels"]]
    # Two int8 tables of [1, 2, 8]: rows are padded to 4, columns to 128 lanes.
    assert tables[0] == 2 * 4 * 128


def test_stored_masks_take_a_window(run):
    windows = {}
    for text in ("causal()", "causal() & stride(3)", "full()"):
        kernel = answer_of(run, text, *CALL, "--passes", "fwd")["kernels"][0]
        windows[text] = [window["name"] for window in kernel["vmem"]["windows"]]
    assert "q_sequence" in windows["causal()"]
    assert "partial_mask_blocks" in windows["causal() & stride(3)"]
    assert not {"q_sequence", "partial_mask_blocks"} & set(windows["full()"])


@pytest.mark.parametrize("arguments, message", [
    (["causal()", "--q-len", "4096"],
     "[arguments] expected --chip, one of v4, v5e, v5p, v6e, tpu7x"),
    (["causal()", "--q-len", "4096", "--chip", "v6"],
     "[plan] unknown chip 'v6': known are v4, v5e, v5p, v6e, tpu7x"),
    (["causal()", *CALL, "--scoped-vmem-limit-kib", "131073"],
     "[arguments] expected --scoped-vmem-limit-kib of at most 131072, all that a v6e has, got 131073"),
    (["causal()", *CALL, "--kv-heads", "3"],
     "[arguments] expected --kv-heads (3) to divide 8 heads"),
    (["causal()", *CALL, "--head-dim", "4611686018427387904"],
     "[plan] expected q of less than 2^56 bytes, got 1.25e+24"),
    (["causal()", *CALL, "--kv-heads", "2", "--head-shards", "4"],
     "[arguments] expected head_shards (4) to divide --kv-heads (2)"),
    (["causal()", *CALL, "--block-kv-compute", "200"],
     "[plan] expected block_kv_compute (200) to divide block_kv (512): nearest are 128 and 256"),
    (["causal()", *CALL, "--block-q-dq", "64"],
     "[plan] expected block_q_dq (64) to be a multiple of 128, as q positions lie in lanes there: "
     "nearest is 128"),
    ([*CALL], "[arguments] expected one MASK without --balance"),
    (["causal()", "full()", *CALL], "[arguments] expected one MASK without --balance"),
    (["causal()", *CALL, "--shards", "2"],
     "[arguments] expected --balance beside --shards, --weights, --unit, --output, --permutation and "
     "--threads"),
    (["causal()", *CALL, "--balance", "lpt", "--shards", "2"],
     "[arguments] expected neither a chip nor a call beside --balance: it takes lengths, --block-q and "
     "--block-kv"),
    (["causal()", *CALL, "--fused-bwd", "--block-q-dq", "128"],
     "[arguments] expected no dq pass and no dq block sizes with --fused-bwd, got --block-q-dq or "
     "--block-kv-dq: the fused backward kernel takes dq from the dkv tables"),
])
def test_refusals(run, arguments, message):
    done = run("plan", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"splashmask: {message}\n"


def test_a_plan_of_tokamax_alone(run, tmp_path):
    from splashmask import tokamax
    tokamax.compile(sm.CausalMask((512, 512)), block_q=128, block_kv=128).save(tmp_path / "lists.h5")
    done = run("plan", "lists.h5", "--chip", "v6e")
    assert done.returncode == 2
    assert "expected a plan with a pass of JAX's dialect, got one of tokamax's alone" in done.stderr


def test_a_plan_file_has_its_own_sizes(run):
    plan = compiled(run)
    done = run("plan", plan, "--chip", "v6e", "--block-q", "128")
    assert done.returncode == 2
    assert "expected no lengths, block sizes, passes or shards beside a plan file" in done.stderr


@pytest.mark.parametrize("mask", ["causal()", "local(100, 0)", "full()", "empty()"])
def test_roofline(run, mask):
    """Every kernel that computes anything is drawn, with the numbers of the JSON answer."""
    arguments = [mask, *CALL, "--head-dim", "64"]
    kernels = answer_of(run, *arguments)["kernels"]
    text = run("plan", *arguments, "--roofline").stdout
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    first = lines.index("roofline: useful TFLOP/s over FLOP for each byte of HBM")
    picture = "".join(line.partition("│")[2] for line in lines[first:])
    for kernel, letter in zip(kernels, "frqd", strict=True):
        time = kernel["time"]
        legend = re.search(rf"  {letter} {kernel['kernel']} +(\d+) FLOP/byte +([\d.]+) TFLOP/s, +([\d.]+) %", text)
        assert (letter in picture) == (legend is not None) == (mask != "empty()")
        if legend:
            assert float(legend[1]) == pytest.approx(time["flops"] / time["copied_bytes"], abs=0.51)
            assert float(legend[2]) == pytest.approx(time["flops"] / time["kernel"] / 1e12, abs=0.051)
            assert 0 < float(legend[3]) <= 100
    # Pairs of whole blocks: of a full mask all, 2 products of 64 by 64.
    if mask == "full()":
        assert kernels[0]["time"]["flops"] == 8 * 4096 * 4096 * 2 * (64 + 64)


def test_roofline_stands_alone(run):
    for others in (["--json"], ["--tune"]):
        done = run("plan", "causal()", *CALL, "--roofline", *others)
        assert done.returncode == 2 and "expected --roofline without" in done.stderr
