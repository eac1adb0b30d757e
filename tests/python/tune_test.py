# SPDX-License-Identifier: Apache-2.0
"""sm.tune and splashmask plan --tune: what they answer is what the models say of those block sizes. That
nothing is faster is in tests/planner/tune_test.cc."""

import json
import re

import pytest

import splashmask as sm
from command import in_folder
from splashmask import _core

CHIPS = [spec["name"] for spec in _core.tpu_specs()]


def causal(length=4096, heads=8):
    return sm.MultiHeadMask([sm.CausalMask((length, length))] * heads)


@pytest.fixture
def run(tmp_path):
    return in_folder(tmp_path)


def sizes_of(kernel):
    return kernel.block_q, kernel.block_kv, kernel.block_kv_compute


def plan_with(mask, sizes, **options):
    """Compiled with tuned sizes."""
    fused = sizes["use_fused_bwd_kernel"]
    pairs = {suffix: (sizes["block_q" + suffix], sizes["block_kv" + suffix])
             for suffix in ("", "_dq", "_dkv") if sizes["block_q" + suffix] is not None}
    blocks = {f"block_{axis}{suffix}": pair[i] for suffix, pair in pairs.items()
              for i, axis in enumerate(("q", "kv"))}
    passes = ["fwd", "dq", "dkv"][:len(pairs)] if not fused else ["fwd", "dkv"]
    return sm.compile(mask, **blocks, use_fused_bwd_kernel=fused, passes=passes, **options)


@pytest.mark.parametrize("chip", CHIPS)
def test_times_are_those_of_the_plan(chip):
    mask = sm.MultiHeadMask([sm.CausalMask((4096, 4096)), sm.LocalMask((4096, 4096), (1000, 0), 0)] * 4)
    tuned = sm.tune(mask, chip=chip, kv_heads=4, head_dim=64, head_dim_v=128, segments=True)
    assert tuned.fits is True
    plan = plan_with(mask, tuned.block_sizes)
    seq_minor = tuple(tuned.block_sizes[name] == "SEQ_MINOR"
                      for name in ("q_layout", "k_layout", "v_layout"))
    for kernel in tuned.kernels:
        (time,) = _core.attention_time(plan._core, kernel.kernel, chip, sizes_of(kernel), seq_minor, 1,
                                       4, 64, 128, "bfloat16", True, False, False, False, False)
        assert kernel.seconds == pytest.approx(time["total"], rel=1e-12)
        assert tuple(time["caveats"]) == kernel.extrapolated
    assert tuned.seconds == pytest.approx(sum(kernel.seconds for kernel in tuned.kernels))


def test_runners_up_and_others_are_in_order():
    tuned = sm.tune(causal(), chip="v6e", runners_up=7)
    for kernel in tuned.kernels:
        assert len(kernel.runners_up) == 7
        seconds = [kernel.seconds] + [other.seconds for other in kernel.runners_up]
        assert seconds == sorted(seconds)
    seconds = [tuned.seconds] + [other.seconds for other in tuned.others if other.fits]
    assert seconds == sorted(seconds) and len(tuned.others) >= 8
    assert {other.block_sizes["use_fused_bwd_kernel"] for other in tuned.others} == {True, False}


def test_forward_alone():
    tuned = sm.tune(causal(), chip="v5p", backward=False)
    assert [kernel.kernel for kernel in tuned.kernels] == ["fwd"]
    assert tuned.block_sizes["block_q_dkv"] is None and tuned.block_sizes["block_q_dq"] is None
    assert "dkv" not in tuned.maxtext() and "fused" not in tuned.maxtext()


def test_shards_are_counted():
    """The last of four q shards has the most of a causal mask to do; zigzag evens it out."""
    def seconds(mask):
        return sm.tune(mask, chip="v6e", q_seq_shards=4, backward=False).seconds
    uneven = seconds(causal(32768))
    zigzag = sm.parse("reorder(causal(), q=zigzag(4))", (32768, 32768))
    even = seconds(sm.MultiHeadMask([zigzag] * 8))
    assert even < 0.7 * uneven


def test_a_plan_gives_mask_and_options():
    mask = causal()
    plan = sm.compile(mask, block_q=512, block_kv=512, head_shards=2, q_seq_shards=2)
    assert sm.tune(plan, chip="v6e") == sm.tune(mask, chip="v6e", head_shards=2, q_seq_shards=2)


def test_tokamax_takes_equal_masks():
    masks = sm.MultiHeadMask([sm.CausalMask((1024, 1024)) for _ in range(2)])
    assert sm.tune(masks, chip="v6e", library="tokamax").kernels[1].kernel == "fused"
    other = sm.MultiHeadMask([sm.CausalMask((1024, 1024)), sm.FullMask((1024, 1024))])
    with pytest.raises(sm.Error, match="expected one mask for all heads with tokamax"):
        sm.tune(other, chip="v6e", library="tokamax")


def test_jax_takes_the_sizes():
    smj = pytest.importorskip("splashmask.jax", reason="JAX is not installed")
    mask = causal(1024, 2)
    for fused in (False, True):
        tuned = sm.tune(mask, chip="v6e", use_fused_bwd_kernel=fused)
        sizes = smj.BlockSizes(**tuned.kwargs())
        assert sizes.has_backward_blocks and sizes.use_fused_bwd_kernel == fused
        kernel = smj.make_splash_mha(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1)
        assert kernel.dkv_mask_info is not None and (kernel.dq_mask_info is None) == fused


@pytest.mark.parametrize("arguments, text", [
    (dict(chip="v9"), "unknown chip 'v9': known are v4, v5e, v5p, v6e, tpu7x"),
    (dict(chip="v6e", dtype="int8"), "expected dtype bfloat16 or float32, got 'int8'"),
    (dict(chip="v6e", q_layout="minor"), "expected q_layout HEAD_DIM_MINOR, SEQ_MINOR or None, got 'minor'"),
    (dict(chip="v6e", head_shards=3), "expected head_shards (3) to divide 8 heads"),
    (dict(chip="v6e", q_seq_shards=3), "expected q_seq_shards (3) to divide 4096 q positions"),
    (dict(chip="v6e", kv_heads=3), "expected kv_heads (3) to divide 8 heads"),
    (dict(chip="v6e", kv_heads=2, head_shards=4), "expected head_shards (4) to divide kv_heads (2)"),
    (dict(chip="v6e", head_dim=0), "expected head_dim of at least 1, got 0"),
    (dict(chip="v6e", runners_up=-1), "expected runners_up of at least 0, got -1"),
    (dict(chip="v6e", library="flash"), "expected library jax or tokamax, got 'flash'"),
    (dict(chip="v6e", scoped_vmem_limit_kib=1 << 20), "expected scoped_vmem_limit_kib of 1 to 131072"),
    (dict(chip="TPU v6 lite", scoped_vmem_limit_kib=1 << 20), "of 1 to 131072, all that a v6e has"),
    (dict(chip="v6e", scoped_vmem_limit_kib=100), "expected a scoped VMEM limit of at least"),
    (dict(chip="v6e", library="tokamax", head_shards=2), "expected no shards with tokamax"),
    (dict(chip="v6e", library="tokamax", use_fused_bwd_kernel=False), "expected the fused backward kernel"),
    (dict(chip=6), "expected chip to be a name, got 6"),
])
def test_bad_arguments(arguments, text):
    with pytest.raises(sm.Error, match=re.escape(text)):
        sm.tune(causal(), **arguments)


def test_lengths_without_legal_blocks():
    with pytest.raises(sm.Error, match=re.escape("expected kv_len (1000) to be a multiple of 128")):
        sm.tune(sm.CausalMask((1024, 1000)), chip="v6e")
    with pytest.raises(sm.Error, match="expected no shards beside a plan"):
        sm.tune(sm.compile(causal(), block_q=512, block_kv=512), chip="v6e", q_seq_shards=2)


# The command.

CALL = ["--q-len", "4096", "--heads", "8", "--chip", "v6e"]


def answer_of(run, *arguments):
    done = run("plan", *arguments, "--tune", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_command_and_python_agree(run):
    answer = answer_of(run, "causal()", *CALL, "--kv-heads", "2", "--head-dim", "256")
    tuned = sm.tune(causal(), chip="v6e", kv_heads=2, head_dim=256)
    assert answer["block_sizes"] == {k: v for k, v in tuned.block_sizes.items() if v is not None}
    assert answer["seconds"] == pytest.approx(tuned.seconds)
    assert answer["candidates"] == tuned.candidates
    assert answer["fits"] is True and answer["yours"] is None
    for kernel, expected in zip(answer["kernels"], tuned.kernels, strict=True):
        assert kernel["time"]["total"] == pytest.approx(expected.seconds)
        assert kernel["as_good"] == expected.as_good
        assert len(kernel["runners_up"]) == len(expected.runners_up) == 4
    assert len(answer["others"]) == len(tuned.others)


def test_every_form(run):
    tuned = sm.tune(causal(), chip="v6e")
    yaml = run("plan", "causal()", *CALL, "--tune", "--print", "maxtext")
    assert yaml.stdout == tuned.maxtext()
    assert all(re.fullmatch(r'sa_\w+: (\d+|true|false|"(HEAD_DIM|SEQ)_MINOR")', line)
               for line in yaml.stdout.splitlines())
    kwargs = run("plan", "causal()", *CALL, "--tune", "--print", "kwargs").stdout
    names = {"BlockSizes": dict, "QKVLayout": type("", (), {"HEAD_DIM_MINOR": "HEAD_DIM_MINOR",
                                                            "SEQ_MINOR": "SEQ_MINOR"})}
    assert eval(kwargs, names) == {k: v for k, v in tuned.block_sizes.items() if v is not None}
    table = run("plan", "causal()", *CALL, "--tune").stdout
    assert kwargs in table and "the fastest of " in table and "how sure" in table
    assert max(map(len, table.splitlines())) <= 80


LONG = ["causal()", "--q-len", "1048576", "--tune", "--scoped-vmem-limit-kib", "65536"]


def test_the_table_is_narrow_for_long_calls(run):
    done = run("plan", *LONG, "--heads", "32", "--kv-heads", "8", "--chip", "tpu7x")
    lines = [line for line in done.stdout.splitlines() if not line.startswith("mask")]
    assert len(lines) > 20 and max(map(len, lines)) <= 80, done.stderr


def test_a_call_that_hbm_does_not_hold(run):
    """q alone takes 2^20 positions of 32 heads and 128 elements of 2 bytes, four times: 32 GiB."""
    done = run("plan", *LONG, "--heads", "32", "--batch", "4", "--chip", "v6e")
    assert done.returncode == 2
    refusal = re.search(r"expected fwd_residuals to fit (\d+) bytes of HBM, got (\d+) at least: shard",
                        done.stderr)
    assert int(refusal[1]) < 32 << 30 < int(refusal[2])


@pytest.mark.parametrize("arguments", [
    ["chunked_causal(700)", "--q-len", "384", "--passes", "fwd", "--chip", "v5e", "--head-dim", "192",
     "--head-dim-v", "256", "--segments", "--soft-cap", "--scoped-vmem-limit-kib", "1000"],
    ["causal()", "--q-len", "1920", "--heads", "64", "--chip", "v5p", "--head-dim", "256"],
    ["full()", "--q-len", "4096", "--chip", "v4", "--scoped-vmem-limit-kib", "2000"],
    ["local(100, 0) & stride(3)", "--q-len", "6144", "--chip", "tpu7x", "--dtype", "float32", "-o", "tuned.h5"],
], ids=lambda arguments: arguments[0])
def test_tables_are_narrow(run, arguments):
    done = run("plan", *arguments, "--tune")
    assert max(map(len, done.stdout.splitlines())) <= 80, done.stdout + done.stderr


def test_counts_add_up(run):
    """Of all candidates of one kernel with fixed layouts, each is a runner-up or left out and counted."""
    tuned = sm.tune(causal(6144), chip="v5e", backward=False, runners_up=10000, q_layout="HEAD_DIM_MINOR",
                    k_layout="HEAD_DIM_MINOR", v_layout="HEAD_DIM_MINOR")
    counts = dict(tuned.candidates)
    assert counts.pop("tried") == sum(counts.values()) + 1 + len(tuned.kernels[0].runners_up)


def test_a_plan_of_the_fused_kernel(run):
    """Its tables of dkv are not shrunk, those of the other backward kernels are."""
    run("compile", "local(1023, 0)", "--q-len", "16384", "--heads", "8", "--fused-bwd", "-o", "fused.h5")
    from_plan = answer_of(run, "fused.h5", "--chip", "v5e")
    from_text = answer_of(run, "local(1023, 0)", "--q-len", "16384", "--heads", "8", "--chip", "v5e")
    assert from_plan["yours"]["seconds"] > from_plan["seconds"]
    for name in ("block_sizes", "seconds", "candidates"):
        assert from_plan[name] == from_text[name]


def test_yours_need_all_passes(run):
    for passes in (["dq"], ["fwd", "dkv"], ["dq", "dkv"]):
        run("compile", "causal()", "--q-len", "4096", "--passes", ",".join(passes), "-o", "part.h5")
        answer = answer_of(run, "part.h5", "--chip", "v6e")
        assert answer["yours"] is None and "block_q_dkv" in answer["block_sizes"]
    run("compile", "causal()", "--q-len", "4096", "--passes", "fwd", "-o", "part.h5")
    answer = answer_of(run, "part.h5", "--chip", "v6e")
    assert answer["yours"]["fits"] and "block_q_dkv" not in answer["block_sizes"]


def test_yours_must_fit_hbm(run):
    answer = answer_of(run, "causal()", "--q-len", "131072", "--heads", "8", "--fused-bwd", "--block-q",
                       "1024", "--block-kv", "512", "--chip", "v6e")
    assert answer["fits"] is True and answer["yours"]["fits"] is False


def test_yours_are_told_beside(run):
    answer = answer_of(run, "causal()", *CALL, "--block-q", "128", "--block-kv", "128")
    assert answer["yours"]["fits"] is True and answer["yours"]["seconds"] > 1.5 * answer["seconds"]
    run("compile", "causal()", "--q-len", "4096", "--heads", "8", "--block-q", "4096", "--block-kv",
        "4096", "-o", "plan.h5")
    answer = answer_of(run, "plan.h5", "--chip", "v6e")
    assert answer["yours"]["fits"] is False
    text = run("plan", "plan.h5", "--chip", "v6e", "--tune").stdout
    assert re.search(r"yours: \S+ \S?s, \d\.\d\d times as long, does not fit", text)


def test_a_plan_with_the_sizes_is_written(run, tmp_path):
    answer = answer_of(run, "causal()", *CALL, "-o", "tuned.h5")
    plan = sm.load(tmp_path / "tuned.h5")
    sizes = answer["block_sizes"]
    assert plan.fwd.block_shape == (sizes["block_q"], sizes["block_kv"])
    assert plan.dkv.block_shape == (sizes["block_q_dkv"], sizes["block_kv_dkv"])
    assert plan.use_fused_bwd_kernel == sizes["use_fused_bwd_kernel"]
    assert plan.verify() is None
    assert answer["file"] == "tuned.h5"
    text = run("plan", "causal()", *CALL, "--tune", "-o", "tuned.h5").stdout
    flags = re.search(r"wrote tuned.h5; .* are not in it:\n  (--.*)\n", text)[1].split()
    assert answer_of(run, "tuned.h5", "--chip", "v6e", *flags)["yours"] == {
        "seconds": pytest.approx(answer["seconds"]), "fits": True}
    again = answer_of(run, "tuned.h5", "--chip", "v6e")
    assert again["yours"]["seconds"] == pytest.approx(again["seconds"], rel=0.05)


@pytest.mark.parametrize("arguments, text", [
    (["--tune"], "expected one MASK without --balance"),
    (["causal()", "--tune"], "expected --chip, one of v4, v5e, v5p, v6e, tpu7x"),
    (["causal()", *CALL, "--print", "maxtext"], "expected --tune beside --print"),
    (["causal()", *CALL, "--tune", "--print", "kwargs", "--json"], "expected --print or --json, got both"),
    (["causal()", *CALL, "--tune", "--print", "toml"], "toml"),
    (["causal()", *CALL, "--tune", "--balance", "lpt"], "expected one of --balance, --tune and"),
    (["causal()", *CALL, "--tune", "--shards", "2"], "expected --balance beside --shards"),
    (["causal()", *CALL, "--tune", "-o", "a.h5", "-o", "b.h5"], "expected one -o beside --tune"),
    (["causal()", *CALL, "--tune", "--passes", "dq"], "expected --passes fwd, or all of them, beside --tune"),
    (["causal()", *CALL, "--tune", "--passes", "fwd", "--fused-bwd"], "expected no --fused-bwd beside"),
    (["causal()", *CALL, "--tune", "--q-seq-shards", "3"], "expected --q-seq-shards (3) to divide 4096 q"),
    (["causal()", *CALL, "--tune", "--head-shards", "3", "--kv-heads", "1"], "expected --head-shards (3) to divide 8 heads"),
    (["causal()", *CALL, "--tune", "--scoped-vmem-limit-kib", "64"], "expected a scoped VMEM limit of at least"),
    (["causal()", "--q-len", "1000", "--chip", "v6e", "--tune"], "expected kv_len (1000) to be a multiple"),
])
def test_bad_command_lines(run, arguments, text):
    done = run("plan", *arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert text in done.stderr
