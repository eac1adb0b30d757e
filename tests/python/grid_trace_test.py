# SPDX-License-Identifier: Apache-2.0
"""The trace of a kernel's grid beside the index maps of JAX's own kernel, evaluated at every step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.state.discharge import discharge_state

import splashmask as sm
import splashmask.jax as smj

HEAD_DIM, HEAD_DIM_V = 128, 64


def pallas_calls(jaxpr):
    """Every pallas_call in a jaxpr and what it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns") and equation.primitive.name != "pallas_call":
                    yield from pallas_calls(inner)


def copies_of(equation, tables):
    """(block shape, bytes of a block, copies) of each operand of a pallas_call: the index maps of its
    BlockSpecs at every step of the grid, given the scalar-prefetched tables."""
    mapping = equation.params["grid_mapping"]
    steps = jnp.stack([x.reshape(-1) for x in jnp.meshgrid(
        *(jnp.arange(n, dtype=jnp.int32) for n in mapping.grid), indexing="ij")])
    tables = [jnp.asarray(t) for t in tables]
    for block in mapping.block_mappings:
        closed = block.index_map_jaxpr

        def index(step, closed=closed):
            refs = tables[:len(closed.jaxpr.invars) - len(mapping.grid)]
            discharged = discharge_state(closed)
            out = jax.core.eval_jaxpr(discharged.jaxpr, discharged.consts, *step, *refs)
            return jnp.stack([jnp.asarray(x, jnp.int32) for x in out[:len(block.block_shape)]])

        indices = np.asarray(jax.vmap(index, 1)(steps))
        copies = 1 + int((indices[1:] != indices[:-1]).any(1).sum())
        shape = tuple(int(getattr(n, "block_size", n)) for n in block.block_shape
                      if isinstance(getattr(n, "block_size", n), int))
        dtype = block.array_aval.dtype if hasattr(block, "array_aval") else (
            block.array_shape_dtype.dtype)
        size = 4 if dtype == np.bool_ else dtype.itemsize  # Bools enter the kernel as int32.
        yield shape, int(np.prod(shape)) * size, copies


def compare(mask, block, *, kv_heads, dtype=np.float32, ids=False, sinks=False, fused=False,
            residuals=False, compute=None):
    heads, q_len, kv_len = mask.shape
    block_q, block_kv = block
    sizes = dict(block_q=block_q, block_kv=block_kv, block_q_dkv=block_q, block_kv_dkv=block_kv,
                 block_kv_dkv_compute=compute, use_fused_bwd_kernel=fused)
    if not fused:
        sizes |= dict(block_q_dq=block_q, block_kv_dq=block_kv)
    kernel = smj.make_splash_mha_single_device(mask, block_sizes=smj.BlockSizes(**sizes),
                                               save_residuals=residuals)
    q = jnp.zeros((heads, q_len, HEAD_DIM), dtype)
    k = jnp.zeros((kv_heads, kv_len, HEAD_DIM), dtype)
    v = jnp.zeros((kv_heads, kv_len, HEAD_DIM_V), dtype)
    segment_ids = smj.SegmentIds(jnp.zeros(q_len, jnp.int32), jnp.zeros(kv_len, jnp.int32))
    extra = (segment_ids if ids else None, jnp.zeros(heads) if sinks else None)
    if residuals:
        jaxpr = jax.make_jaxpr(lambda q, k, v: kernel(q, k, v, *extra))(q, k, v)
        passes = ["fwd"]
    else:
        jaxpr = jax.make_jaxpr(jax.grad(lambda q, k, v: kernel(q, k, v, *extra).sum(),
                                        (0, 1, 2)))(q, k, v)
        passes = ["fwd", "dkv"] if fused else ["fwd", "dkv", "dq"]
    plan = sm.compile(mask, block_q=block_q, block_kv=block_kv, use_fused_bwd_kernel=fused)
    calls = list(pallas_calls(jaxpr.jaxpr))
    assert len(calls) == len(passes)
    for name, call in zip(passes, calls):
        info = getattr(plan, name).mask_info
        tables = [x for x in (info.data_next, info.block_mask, info.mask_next) if x is not None]
        want = list(copies_of(call, tables))
        # The forward pass of a gradient saves its residuals.
        [got] = sm.trace(plan, name, kv_heads=kv_heads, head_dim=HEAD_DIM, head_dim_v=HEAD_DIM_V,
                         dtype=dtype, segment_ids=ids, sinks=sinks, save_residuals=True,
                         block_kv_compute=compute)
        assert got.kernel_name == smj.get_kernel_name(kv_heads == 1, name == "fwd", ids, name)
        assert kv_heads == 1 or got.kernel_name == call.params["name"]
        assert got.grid == call.params["grid_mapping"].grid
        ours = [(one.block, one.block_bytes, one.copies) for one in got.operands.values()]
        assert ours == want, (name, list(got.operands))
        assert got.steps == np.prod(got.grid) == got.skipped + got.partial + got.full
        classes = np.asarray(info.block_mask)
        per_entry = heads // classes.shape[0]
        for kind, count in enumerate((got.skipped, got.partial, got.full)):
            assert count == (classes == kind).sum() * per_entry
        assert got.hbm_bytes == sum(size * copies for _, size, copies in want)


S = (512, 768)
MASKS = {
    "causal": sm.CausalMask(S, 100),
    "partial_blocks": sm.CausalMask(S) & sm.LocalMask(S, (170, None), 0),
    "full": sm.FullMask(S),
    "documents": sm.documents(S, [200, 56, 130]),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_copies_are_those_of_jax_s_index_maps(mask, fused, kv_heads):
    compare(sm.MultiHeadMask([mask] * 4), (128, 256), kv_heads=kv_heads, fused=fused,
            dtype=jnp.bfloat16, ids=kv_heads == 2, sinks=kv_heads == 4)


def test_heads_of_their_own_and_residuals():
    heads = sm.MultiHeadMask([MASKS["causal"], MASKS["documents"], MASKS["partial_blocks"],
                              MASKS["documents"]])
    compare(heads, (128, 128), kv_heads=2)
    compare(heads, (256, 384), kv_heads=2, fused=True, compute=128)
    compare(heads, (256, 384), kv_heads=4, residuals=True, ids=True)


@pytest.mark.parametrize("seed", range(12))
def test_random_blocks(seed):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 3, (2, S[0] // 128, S[1] // 128))
    cells = np.repeat(np.repeat(blocks, 128, 1), 128, 2)
    heads = [sm.NumpyMask((one == 2) | ((one == 1) & (rng.integers(0, 2, S) == 1)))
             for one in cells]
    compare(sm.MultiHeadMask(heads), (128, 128), kv_heads=int(rng.integers(1, 3)),
            fused=bool(rng.integers(2)), ids=bool(rng.integers(2)))


def test_shards_are_traced_apart():
    mask = sm.MultiHeadMask([sm.CausalMask((512, 512))] * 4)
    plan = sm.compile(mask, block_q=128, block_kv=128, head_shards=2, q_seq_shards=2)
    shards = sm.trace(plan, kv_heads=2, head_dim=64)
    assert len(shards) == 4
    assert shards[0] == shards[2] and shards[1] == shards[3]
    assert [one.partial + one.full for one in shards[:2]] == [2 * (1 + 2), 2 * (3 + 4)]
    # Each of its rows has blocks of its own, but those of the first row of a head stay for the next.
    assert shards[0].operands["q"].copies == 4


@pytest.mark.parametrize("change, text", [
    (dict(pass_name="dqs"), "expected a pass fwd, dq or dkv, got"),
    (dict(kv_heads=3), r"\[trace\] expected kv_heads \(3\) to divide the heads of the mask \(4\)"),
    (dict(head_dim=0), "expected positive head dimensions, got 0 and 0"),
    (dict(dtype="float16"), "expected dtype float32 or bfloat16, got float16"),
    (dict(block_kv_compute=100), r"expected block_kv_compute \(100\) to divide block_kv \(128\)"),
])
def test_bad_input(change, text):
    plan = sm.compile(sm.MultiHeadMask([sm.CausalMask((256, 256))] * 4), block_q=128, block_kv=128)
    with pytest.raises(sm.Error, match=text):
        sm.trace(plan, **change)


def test_a_plan_without_the_pass():
    plan = sm.compile(sm.MultiHeadMask([sm.CausalMask((256, 256))]), block_q=128, block_kv=128,
                      passes=("fwd",))
    with pytest.raises(sm.Error, match=r"\[trace\] expected a plan with the pass dkv"):
        sm.trace(plan, "dkv")
