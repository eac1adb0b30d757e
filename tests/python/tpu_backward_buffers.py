# SPDX-License-Identifier: Apache-2.0
"""XLA's buffer assignments of drawn backward calls of splash attention, as tpu_buffers.py has them of
forward ones.

    python tests/python/tpu_backward_buffers.py FIRST_SEED COUNT
"""

import random
import sys

import tpu_buffers
from tpu_buffers import CHIPS, HEAD_DIMS, HEAD_DIMS_V, MASKS, batch_of

KERNELS = ["dq", "dkv", "fused"]
# Of the gradients that JAX's backward rule returns: those of q, or of k and v, or of all three.
GRADIENTS = {"dq": slice(3, 4), "dkv": slice(4, 6), "fused": slice(3, 6)}


def draw(seed):
    """A configuration that a backward kernel takes."""
    draws = random.Random(seed)
    pick, chance = draws.choice, lambda share: draws.random() < share
    c = {"seed": seed, "kernel": pick(KERNELS), "chip": pick(CHIPS),
         "dtype": pick(["bfloat16", "bfloat16", "float32"]), "heads": pick([1, 2, 3, 4, 6, 8, 12, 16])}
    c["kv_heads"] = pick([heads for heads in range(1, 17) if c["heads"] % heads == 0])
    c["seq_minor"] = tuple(chance(0.25) for _ in "qkv")
    c["segments"], c["sinks"] = chance(0.3), chance(0.25)
    q_blocks, kv_blocks = pick([1, 1, 2, 3, 4, 5]), pick([1, 2, 3, 4, 5])
    # A block of fewer rows is all of q, and has no segment ids in the lanes.
    is_short = q_blocks == 1 and not c["seq_minor"][0] and not c["segments"]
    c["block_q"] = pick([8, 16, 64, 96, 128] if is_short else [128, 256, 384, 512])
    c["block_kv"] = pick([128, 256, 384, 512])
    c["block_kv_compute"] = pick([n for n in (128, 256, 384, 512) if c["block_kv"] % n == 0])
    c["q_len"], c["kv_len"] = c["block_q"] * q_blocks, c["block_kv"] * kv_blocks
    c["head_dim"] = pick(HEAD_DIMS)
    c["head_dim_v"] = c["head_dim"] if chance(0.7) else pick(HEAD_DIMS_V)
    c["masks"] = [pick(MASKS)] * c["heads"] if chance(0.7) else [pick(MASKS) for _ in range(c["heads"])]
    c["batch"] = pick([1, 1, 1, 2, 3])
    c["tables_are_arguments"] = chance(0.3)
    c["faster_memory"] = False
    return c


def step_of(c, jax, smj, sm):
    """The function to compile, and the shapes of its arguments."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel
    block_q, block_kv, is_fused = c["block_q"], c["block_kv"], c["kernel"] == "fused"
    of_dq = {} if is_fused else {"block_q_dq": block_q, "block_kv_dq": block_kv}
    sizes = smj.BlockSizes(
        block_q=block_q, block_kv=block_kv, block_q_dkv=block_q, block_kv_dkv=block_kv,
        block_kv_dkv_compute=c["block_kv_compute"], use_fused_bwd_kernel=is_fused, **of_dq,
        **tpu_buffers.layouts_of(c, smj))
    kernel = tpu_buffers.make_kernel(c, sizes, smj, sm)
    is_dq = c["kernel"] == "dq"
    info = kernel.dq_mask_info if is_dq else kernel.dkv_mask_info
    array = jax.ShapeDtypeStruct
    inputs, ids, sinks = tpu_buffers.operands_of(c, array)
    rows = (*batch_of(c), c["heads"], c["q_len"])
    out, logsumexp = array((*rows, c["head_dim_v"]), c["dtype"]), array(rows, "float32")
    tables = [info] if c["tables_are_arguments"] else []
    options = {name: kernel.kwargs[name]
               for name in ("save_residuals", "mask_value", "is_mqa", "block_sizes", "mask_function",
                            "residual_checkpoint_name", "attn_logits_soft_cap", "interpret")}

    def attention(tables, sinks, *operands):
        def one(q, k, v, out, logsumexp, do, *ids):
            its_tables = (tables or [info])[0]
            of_both = (its_tables, kernel.dkv_mask_info if is_dq else its_tables)
            residuals = (q, k, v, smj.SegmentIds(*ids) if ids else None, sinks[0] if sinks else None, out,
                         logsumexp, *of_both)
            return splash_attention_kernel._splash_attention_bwd(
                **options, res=residuals, do=do)[GRADIENTS[c["kernel"]]]

        return jax.vmap(one)(*operands) if batch_of(c) else one(*operands)

    return attention, (tables, sinks, *inputs, out, logsumexp, out, *ids)


if __name__ == "__main__":
    tpu_buffers.main(draw, step_of, *map(int, sys.argv[1:]))
