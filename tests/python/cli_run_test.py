# SPDX-License-Identifier: Apache-2.0
"""splashmask run: attention over a plan, from arrays to arrays."""

import json
import re

import h5py
import ml_dtypes
import numpy as np
import pytest

from command import compiled, in_terminal

HEADS, LENGTH, DIM, DIM_V = 4, 256, 24, 16
WINDOW = ["compile", "causal() & local(99, 0)", "--q-len", str(LENGTH), "--heads", str(HEADS),
          "--block-q", "64", "--block-kv", "64"]
FILES = ["--q", "q.npy", "--k", "k.npy", "--v", "v.npy"]


def draw(seed, *leading):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((*leading, heads, LENGTH, dim), np.float32)
            for heads, dim in ((HEADS, DIM), (2, DIM), (2, DIM_V))]


def save(folder, arrays):
    for name, array in zip("qkv", arrays):
        np.save(folder / f"{name}.npy", array)


def dense(q, k, v):
    """Attention in float64, [..., heads, length, dim], and its logsumexp."""
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    k, v = (np.repeat(x, HEADS // x.shape[-3], axis=-3) for x in (k, v))
    i, j = np.ogrid[:LENGTH, :LENGTH]
    logits = np.where((j <= i) & (j >= i - 99), q @ np.swapaxes(k, -1, -2), -np.inf)
    largest = logits.max(-1, keepdims=True)
    weights = np.exp(logits - largest)
    total = weights.sum(-1, keepdims=True)
    return weights @ v / total, (largest + np.log(total))[..., 0]


@pytest.mark.parametrize("leading", [(), (1,), (3,)])
def test_writes_attention_and_logsumexp(run, tmp_path, leading):
    compiled(run, *WINDOW)
    arrays = draw(0, *leading)
    save(tmp_path, arrays)
    out, logsumexp = dense(*arrays)
    done = run("run", "plan.h5", *FILES, "-o", "out.npy", "--lse", "lse.npy")
    assert done.returncode == 0 and done.stderr == ""
    got = np.load(tmp_path / "out.npy")
    assert got.dtype == np.float32 and got.shape == out.shape
    np.testing.assert_allclose(got, out, atol=1e-5)
    got = np.load(tmp_path / "lse.npy")
    assert got.dtype == np.float32 and got.shape == logsumexp.shape
    np.testing.assert_allclose(got, logsumexp, atol=1e-5)


def test_hdf5_in_and_out(run, tmp_path):
    compiled(run, *WINDOW)
    q, k, v = draw(1)
    with h5py.File(tmp_path / "arrays.h5", "w") as file:
        file["q"] = q.astype(">f4")  # The byte order does not matter.
        file["deep/k"] = k
        file.create_dataset("v", data=v, chunks=(1, 64, DIM_V), compression="gzip")
    named = ["--q", "arrays.h5:/q", "--k", "arrays.h5:/deep/k", "--v", "arrays.h5:/v"]
    assert run("run", "plan.h5", *named, "-o", "out.h5").returncode == 0
    with h5py.File(tmp_path / "out.h5") as file:
        assert sorted(file) == ["logsumexp", "out"]
        assert file["out"].dtype == file["logsumexp"].dtype == np.float32
        for got, expected in zip((file["out"], file["logsumexp"]), dense(q, k, v)):
            np.testing.assert_allclose(got[:], expected, atol=1e-5)
    assert run("run", "plan.h5", *named, "-o", "o.h5", "--lse", "l.hdf5").returncode == 0
    with h5py.File(tmp_path / "o.h5") as out, h5py.File(tmp_path / "l.hdf5") as logsumexp:
        assert list(out) == ["out"] and list(logsumexp) == ["logsumexp"]


def test_bfloat16(run, tmp_path):
    compiled(run, *WINDOW)
    arrays = [x.astype(ml_dtypes.bfloat16) for x in draw(2)]
    save(tmp_path, arrays)
    done = run("run", "plan.h5", *FILES, "-o", "out.npy", "--json")
    told = json.loads(done.stdout)
    assert told["dtype"] == "bfloat16"
    # Products of pairs round the weights; elsewhere bfloat16 goes into float32 as it is.
    least = 1e-5 if told["simd_target"] == "AVX3_BF16" else 0
    assert least < told["error"]["out"] < 2e-2
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), dense(*arrays)[0], atol=2e-2)


def test_what_it_tells(run, tmp_path):
    compiled(run, *WINDOW)
    told = json.loads(run("run", "plan.h5", "--batch", "2", "--head-dim", "24", "--head-dim-v", "16",
                          "--kv-heads", "2", "--check-rows", "100000", "--backward", "--threads", "1",
                          "--repeat", "1", "--json").stdout)
    assert [told[key] for key in ("batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim",
                                  "head_dim_v", "dtype", "threads")] == [
        2, 4, 2, 256, 256, 24, 16, "float32", 1]
    i, j = np.ogrid[:LENGTH, :LENGTH]
    pairs = HEADS * int(((j <= i) & (j >= i - 99)).sum())
    assert told["visible_pairs"] == pairs
    for name, dims in (("forward", 24 + 16), ("backward", 3 * 24 + 2 * 16)):
        timing = told[name]
        assert timing["gflops"] * 1e9 * timing["seconds"] == pytest.approx(2 * 2 * pairs * dims)
        assert timing["share_of_peak"] == pytest.approx(timing["gflops"] / told["peak_gflops"])
    assert told["error"]["rows"] == 2 * HEADS * LENGTH
    assert 0 < told["error"]["out"] < 1e-5 and 0 < told["error"]["logsumexp"] < 1e-5
    blocks = told["blocks"]
    assert sum(blocks[name] for name in ("empty", "partial", "full")) == HEADS * 16

    text = run("run", "plan.h5", "--backward", "--seed", "7").stdout
    for line in (r"mask +\[.*\]", r"arrays +q float32\[4, 256, 128\], .*, drawn at random \(seed 7\)",
                 r"blocks +0 full, 36 partial, 28 skipped of 64 in all heads \(fwd, 64 q x 64 kv\)",
                 r"forward +\S+ \w+, \S+ GFLOP/s, \S+ % of the peak", r"backward +\S+ .*",
                 r"peak +\S+ GFLOP/s in float32 multiply-adds, \d+ threads?, \w+",
                 r"error +\S+ in out, \S+ in logsumexp, at 64 rows"):
        assert re.search(f"^{line}$", text, re.MULTILINE), (line, text)


def test_what_is_not_finite_is_told(run, tmp_path):
    compiled(run, *WINDOW)
    q, k, v = draw(3)
    v[0, 200, 3] = np.nan
    save(tmp_path, (q, k, v))
    done = run("run", "plan.h5", *FILES, "-o", "out.npy", "--check-rows", "1024", "--json")
    assert json.loads(done.stdout)["error"]["out"] < 1e-5  # The reference has NaN in the same places.
    sees = np.zeros(LENGTH, bool)
    sees[200:] = True
    np.testing.assert_array_equal(np.isnan(np.load(tmp_path / "out.npy")[0, :, 3]), sees)


def test_one_wrong_number_is_not_forgotten(run, tmp_path):
    """An infinity whose weight underflows in float32, in the first of two columns."""
    compiled(run, "compile", "full()", "--q-len", "16", "--block-q", "16", "--block-kv", "16")
    q, k, v = (np.zeros((1, 16, 2), "float32") for _ in range(3))
    q[0, :, 0], k[0, 0, 0], v[:] = 1, 100, 1
    v[0, 5, 0] = np.inf
    save(tmp_path, (q, k, v))
    done = run("run", "plan.h5", *FILES, "-o", "out.npy", "--json")
    assert not np.isposinf(np.load(tmp_path / "out.npy")[0, :, 0]).all()
    assert json.loads(done.stdout)["error"]["out"] is None


def test_more_threads_than_processors(run):
    compiled(run, *WINDOW)
    assert json.loads(run("run", "plan.h5", "--threads", "256", "--json").stdout)["threads"] == 256


BAD = [
    (["--q", "q.npy"], "[arguments] expected all of --q, --k and --v, or none"),
    ([*FILES, "--seed", "3"], "beside --q, --k and --v, which have shapes and numbers of their own"),
    (["--q", "q64.npy", *FILES[2:]], "q64.npy: expected float32 or bfloat16 data, got dtype '<f8'"),
    (["--q", "flat.npy", *FILES[2:]],
     "expected flat.npy to be [heads, length, dim] or [batch, heads, length, dim], got (4, 6144)"),
    (["--q", "plan.h5:/fwd/data_next", *FILES[2:]], "/fwd/data_next: expected float32 data, got int8"),
    (["--q", "plan.h5:/fwd/nothing", *FILES[2:]], "nothing"),
    (["--q", "q.txt", *FILES[2:]], "[read_floats] expected name.npy or file.h5:/path, got 'q.txt'"),
    (["--q", "none.npy", *FILES[2:]], "none.npy: cannot open the file: No such file or directory"),
    (["--q", "v.npy", *FILES[2:]], "[attention] expected"),
    (["--kv-heads", "3"], "[attention] expected the heads of k (3) to divide those of q (4)"),
    (["--head-dim", "99999999999"], "[run] expected arrays that fit in memory"),
    (["-o", "out.txt"], "[write_floats] expected name.npy or name.h5, got 'out.txt'"),
    (["--lse", "lse"], "[write_floats] expected name.npy or name.h5, got 'lse'"),
    (["-o", "a.h5", "--lse", "./a.h5"], "expected a file of its own for what is written, got ./a.h5 twice"),
    (["-o", "plan.h5"], "expected a file of its own for what is written, got plan.h5 twice"),
    ([*FILES, "--lse", "v.npy"], "expected a file of its own for what is written, got v.npy twice"),
    (["-o", "none/out.npy"], "expected a folder for none/out.npy, got none there"),
    (["--q", "empty.npy", *FILES[2:]], "expected extents of at least 1, got (0, 5, 5)"),
    (["--batch", "4611686018427387904", "--head-dim", "4611686018427387904"],
     "[run] expected arrays that fit in memory"),
    (["--dtype", "float16"], "--dtype: float16 not in {float32,bfloat16}"),
    (["--repeat", "0"], "--repeat: expected at least 1, got 0"),
]


@pytest.mark.parametrize("arguments, text", BAD, ids=lambda value: None)
def test_bad_input(run, tmp_path, arguments, text):
    compiled(run, *WINDOW)
    save(tmp_path, draw(0))
    np.save(tmp_path / "q64.npy", draw(0)[0].astype(np.float64))
    np.save(tmp_path / "empty.npy", np.zeros((0, 5, 5), np.float32))
    np.save(tmp_path / "flat.npy", draw(0)[0].reshape(4, -1))
    before = sorted(tmp_path.iterdir())
    done = run("run", "plan.h5", *arguments)
    assert done.returncode == 2, done.stderr
    assert text in done.stderr and done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


def test_passes_that_a_plan_lacks(run):
    compiled(run, *WINDOW, "--passes", "fwd", name="fwd.h5")
    assert run("run", "fwd.h5").returncode == 0
    done = run("run", "fwd.h5", "--backward")
    assert done.returncode == 2
    assert "[run] expected a plan with the passes fwd, dq and dkv (or --fused-bwd's fwd and dkv), got fwd.h5" in done.stderr
    compiled(run, *WINDOW, "--passes", "dq,dkv", name="bwd.h5")
    assert "[run] expected a plan with the pass fwd, got bwd.h5" in run("run", "bwd.h5").stderr
    compiled(run, *WINDOW, "--fused-bwd", name="fused.h5")
    assert run("run", "fused.h5", "--backward").returncode == 0


def test_ctrl_c_leaves_the_old_output(run, tmp_path):
    compiled(run, "compile", "full()", "--q-len", "8192", "--heads", "8")
    (tmp_path / "out.npy").write_text("old")
    code, output, seen = in_terminal(["run", "plan.h5", "--repeat", "1000", "-o", "out.npy"], tmp_path,
                                     interrupt_at="forward ")
    assert code == 130 and output == ""
    assert seen.endswith("splashmask: interrupted\r\n")
    assert (tmp_path / "out.npy").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.npy", "plan.h5"]


def test_simd_target_from_the_environment(run, tmp_path):
    compiled(run, *WINDOW)
    best = json.loads(run("run", "plan.h5", "--json").stdout)["simd_target"]
    unknown = run("run", "plan.h5", env={"SPLASHMASK_SIMD_TARGET": "MMX"})
    assert unknown.returncode == 2 and unknown.stdout == ""
    found = re.search(r"\[attention\] expected SPLASHMASK_SIMD_TARGET to be one of (.*), got MMX", unknown.stderr)
    targets = found[1].split(", ")
    assert targets[0] == best and len(set(targets)) == len(targets)
    outputs = {}
    for target in targets:
        for dtype in ("float32", "bfloat16"):
            done = run("run", "plan.h5", "--json", "--backward", "--dtype", dtype, "-o", "out.npy",
                       env={"SPLASHMASK_SIMD_TARGET": target})
            result = json.loads(done.stdout)
            assert result["simd_target"] == target
            assert result["error"]["out"] < (1e-5 if dtype == "float32" else 2e-2)
            outputs[target, dtype] = np.load(tmp_path / "out.npy")
    if best == "AVX3_BF16":  # Weights are rounded there, and not in AVX3.
        assert np.array_equal(outputs[best, "float32"], outputs["AVX3", "float32"])
        assert not np.array_equal(outputs[best, "bfloat16"], outputs["AVX3", "bfloat16"])
    empty = run("run", "plan.h5", "--json", env={"SPLASHMASK_SIMD_TARGET": ""})
    assert json.loads(empty.stdout)["simd_target"] == best
