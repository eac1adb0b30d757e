# SPDX-License-Identifier: Apache-2.0
"""python -m splashmask.tpu check: the TPU compiler's word on a plan."""

import json
import subprocess
import sys

import pytest

import splashmask as sm

pytest.importorskip("libtpu", reason="libtpu, the TPU compiler, is not installed")
pytestmark = pytest.mark.tpu_compiler

LENGTH = 1024
MASK = sm.MultiHeadMask([sm.CausalMask((LENGTH, LENGTH))] * 4)
BLOCKS = dict(block_q=256, block_kv=512)


def check(*arguments, program=("-m", "splashmask.tpu")):
    return subprocess.run([sys.executable, *program, "check", *map(str, arguments)],
                          capture_output=True, text=True, check=False)


def checked(plan, path, *arguments, code=0):
    plan.save(path)
    done = check(path, *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_everything_compiles_and_lies_in_the_band(tmp_path):
    result = checked(sm.compile(MASK, **BLOCKS), tmp_path / "plan.h5", "--chip", "v6e", "--kv-heads", 2,
                     "--block-kv-compute", 256)
    assert result["fits"] and result["message"] == ""
    kernels = result["kernels"]
    assert [kernel["kernel"] for kernel in kernels] == ["fwd", "fwd_residuals", "dq", "dkv"]
    for kernel in kernels:
        compiled = kernel["compiled"]
        least, _, most = kernel["predicted"]
        assert kernel["is_predicted"] == (least <= compiled["vmem_bytes"] <= most)
        assert 0 < compiled["vmem_bytes"] <= result["limit_kib"] << 10
        assert compiled["bundles"] > 100
        assert all(0 <= share <= 1 for share in compiled["units"].values())
        assert compiled["units"]["MXU"] > 0.05
    # q, do and the like: bfloat16 of 4 heads, 1,024 positions, 128 lanes; k and v of 2 heads.
    assert result["hbm_bytes"]["arguments"] >= (4 + 2 + 2) * LENGTH * 128 * 2


def test_a_refusal_is_told_in_the_compilers_words(tmp_path):
    plan = sm.compile(MASK, **BLOCKS, passes=("fwd",))
    result = checked(plan, tmp_path / "plan.h5", "--chip", "v5e", "--scoped-vmem-limit-kib", 500,
                     code=1)
    assert not result["fits"] and result["kernels"][0]["compiled"] is None
    assert "limit 500.0K" in result["message"]
    done = check(tmp_path / "plan.h5", "--chip", "v5e", "--scoped-vmem-limit-kib", 500)
    assert done.returncode == 1 and "\ndoes not fit:\n" in done.stdout


def test_the_first_shard_of_a_fused_plan(tmp_path):
    plan = sm.compile(MASK, block_q=256, block_kv=256, head_shards=2, q_seq_shards=2,
                      use_fused_bwd_kernel=True)
    result = checked(plan, tmp_path / "plan.h5", "--chip", "tpu7x", "--dtype", "float32",
                     "--k-layout", "seq_minor", "--segments")
    assert [kernel["kernel"] for kernel in result["kernels"]] == ["fwd", "fwd_residuals", "fused"]
    assert result["fits"] and all(kernel["compiled"] for kernel in result["kernels"])
    # Of 2 heads and 512 q positions, and of 2 heads and 1,024 kv positions; ids of both.
    arguments = 4 * 128 * (2 * 512 + 2 * 2 * LENGTH) + 4 * (512 + LENGTH)
    assert arguments <= result["hbm_bytes"]["arguments"] < arguments + (1 << 16)


def test_unusable_input(tmp_path):
    backward = sm.compile(MASK, **BLOCKS, passes=("dkv",))
    backward.save(tmp_path / "backward.h5")
    done = check(tmp_path / "backward.h5", "--chip", "v6e")
    assert done.returncode == 2
    assert done.stderr.endswith("splashmask.tpu: [tpu] expected a plan with a forward pass\n")
    done = check(tmp_path / "none.h5", "--chip", "v6e")
    assert done.returncode == 2 and "none.h5" in done.stderr
    damaged = bytearray((tmp_path / "backward.h5").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.h5").write_bytes(damaged)
    done = check(tmp_path / "damaged.h5", "--chip", "v6e")
    assert done.returncode == 3 and "damaged.h5" in done.stderr
    with pytest.raises(sm.Error, match=r"\[tpu\] unknown chip 'v6': known are v4, v5e, v5p, v6e, tpu7x"):
        from splashmask import tpu
        tpu.check(backward, chip="v6")


def test_without_libtpu_it_says_what_to_install(tmp_path):
    program = ("-c", "import sys; sys.modules['libtpu'] = None; from splashmask import tpu; "
                     "sys.exit(tpu.main(sys.argv[1:]))")
    done = check(tmp_path / "plan.h5", "--chip", "v6e", program=program)
    assert done.returncode == 2
    assert done.stderr.endswith("splashmask.tpu: [tpu] expected libtpu, which is not installed: "
                                "pip install 'splashmask[tpu]'\n")
