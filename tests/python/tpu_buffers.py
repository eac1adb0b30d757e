# SPDX-License-Identifier: Apache-2.0
"""XLA's buffer assignments of drawn forward calls of splash attention, compiled for chips that are only
described.

    python tests/python/tpu_buffers.py FIRST_SEED COUNT

prints a line of JSON for each seed: bytes in HBM, those of its temporaries, and every value as
[kind, shape, bytes]. A process of its own: XLA reads its flags when jax is first imported.
"""

import json
import os
import pathlib
import random
import re
import shutil
import sys
import tempfile

CHIPS = ["v4", "v5e", "v5p", "v6e", "tpu7x"]
MASKS = ["causal()", "full()", "local(200, 100)", "causal() & stride(2)", 'where("q * kv % 7 < 3")',
         "chunked_causal(256)", "prefix(100) | causal()", "documents([5, 3]) | full()",
         "reorder(causal(), q=zigzag(1))"]
HEAD_DIMS, HEAD_DIMS_V = [64, 72, 80, 96, 128, 128, 160, 192, 256], [64, 96, 128, 256]
# Where every array lies in HBM, and where those that the program makes lie in faster memory.
COMPILER_OPTIONS = {
    False: {"xla_msa_enable": "false"},
    True: {"xla_msa_max_outstanding_prefetches": "0", "xla_msa_max_cross_program_prefetches": "0"},
}


def draw(seed):
    """A configuration that the forward kernel takes."""
    draws = random.Random(seed)
    pick, chance = draws.choice, lambda share: draws.random() < share
    c = {"kernel": "fwd", "seed": seed, "chip": pick(CHIPS), "dtype": pick(["bfloat16", "bfloat16", "float32"]),
         "heads": pick([1, 2, 3, 4, 6, 8, 12, 16])}
    c["kv_heads"] = pick([heads for heads in range(1, 17) if c["heads"] % heads == 0])
    c["seq_minor"] = tuple(chance(0.25) for _ in "qkv")
    blocks = [128, 256, 512] if c["seq_minor"][0] else [8, 16, 64, 96, 128, 256, 384, 512]
    c["block_q"], c["block_kv"] = pick(blocks), pick([128, 256, 384, 512])
    c["q_len"] = c["block_q"] * pick([1, 2, 3, 4, 5, 8])
    c["kv_len"] = c["block_kv"] * pick([1, 2, 3, 4, 5])
    c["head_dim"] = pick(HEAD_DIMS)
    c["head_dim_v"] = c["head_dim"] if chance(0.7) else pick(HEAD_DIMS_V)
    c["masks"] = [pick(MASKS)] * c["heads"] if chance(0.7) else [pick(MASKS) for _ in range(c["heads"])]
    c["segments"], c["sinks"], c["residuals"] = chance(0.3), chance(0.25), chance(0.5)
    c["soft_cap"] = chance(0.1)
    c["batch"] = pick([1, 1, 1, 2, 3])
    c["tables_are_arguments"] = chance(0.3)
    # tpu7x starts copies ahead whatever it is told.
    c["faster_memory"] = c["chip"] in ("v4", "v5e", "v6e") and chance(0.33)
    return c


def layouts_of(c, smj):
    layout = {False: smj.QKVLayout.HEAD_DIM_MINOR, True: smj.QKVLayout.SEQ_MINOR}
    return dict(zip(("q_layout", "k_layout", "v_layout"), map(layout.get, c["seq_minor"])))


def is_mqa(c):
    return c["kv_heads"] == 1 and c["heads"] > 1


def make_kernel(c, sizes, smj, sm, **options):
    mask = sm.MultiHeadMask([sm.parse(text, (c["q_len"], c["kv_len"])) for text in c["masks"]])
    make = smj.make_splash_mqa if is_mqa(c) else smj.make_splash_mha
    return make(mask, block_sizes=sizes, head_shards=1, q_seq_shards=1, **options)


def batch_of(c):
    return (c["batch"],) if c["batch"] > 1 else ()


def operands_of(c, array):
    """Shapes of q, k and v, and of segment ids and sinks where there are some."""
    batch = batch_of(c)
    kv = batch if is_mqa(c) else (*batch, c["kv_heads"])
    ids = [array((*batch, length), "int32") for length in (c["q_len"], c["kv_len"])]
    return ([array((*batch, c["heads"], c["q_len"], c["head_dim"]), c["dtype"]),
             array((*kv, c["kv_len"], c["head_dim"]), c["dtype"]),
             array((*kv, c["kv_len"], c["head_dim_v"]), c["dtype"])],
            ids if c["segments"] else [], [array((c["heads"],), "float32")] if c["sinks"] else [])


def step_of(c, jax, smj, sm):
    """The function to compile, and the shapes of its arguments."""
    sizes = smj.BlockSizes(block_q=c["block_q"], block_kv=c["block_kv"], block_kv_compute=128,
                           **layouts_of(c, smj))
    kernel = make_kernel(c, sizes, smj, sm, save_residuals=c["residuals"],
                         attn_logits_soft_cap=30.0 if c["soft_cap"] else None)
    inputs, ids, sinks = operands_of(c, jax.ShapeDtypeStruct)
    tables = [kernel] if c["tables_are_arguments"] else []

    def attention(tables, sinks, *operands):
        def one(q, k, v, *ids):
            return (tables or [kernel])[0](q, k, v, smj.SegmentIds(*ids) if ids else None, *sinks)

        return jax.vmap(one)(*operands) if batch_of(c) else one(*operands)

    return attention, (tables, sinks, *inputs, *ids)


def compile_for(c, step_of, mesh, modules):
    jax, smj, sm = modules
    attention, arguments = step_of(c, jax, smj, sm)
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    with jax.set_mesh(mesh):
        lowered = jax.jit(attention, in_shardings=whole).trace(*arguments).lower(
            lowering_platforms=("tpu",))
        lowered.compile(compiler_options=COMPILER_OPTIONS[c["faster_memory"]])


KINDS = {"parameter": "argument", "constant": "constant", "thread-local": "thread-local",
         "preallocated-temp": "temporary", "maybe-live-out": "output"}


def assignment_of(text, with_faster_memory):
    """What the compiler's file says."""
    result = {"hbm_bytes": 0, "temporary_bytes": 0, "buffers": []}
    for line in text.splitlines():
        if match := re.match(r"allocation \d+: size (\d+)(.*)", line):
            flags = match[2]
            color = int((re.search(r"color (\d+)", flags) or [0, 0])[1])
            kind = next(kind for flag, kind in KINDS.items() if flag in flags)
            if color == 0:
                result["hbm_bytes"] += int(match[1])
                result["temporary_bytes"] += int(match[1]) * (kind == "temporary")
        elif match := re.match(r" value: .*\(size=(\d+),offset=\d+\): (.*)", line):
            if color == 0 or with_faster_memory and color in (1, 3):
                shape = re.sub(r"/\*index=\d+\*/", "", match[2])
                result["buffers"].append([kind, shape, int(match[1])])
    return result


def main(draw, step_of, first, count):
    folder = pathlib.Path(tempfile.mkdtemp())
    os.environ |= {
        "JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "XLA_FLAGS": f"--xla_dump_to={folder} --xla_dump_hlo_module_re=jit_attention"}
    import jax

    import splashmask as sm
    import splashmask.jax as smj
    from splashmask.tpu_compiler import described_mesh

    try:
        for seed in range(first, first + count):
            c = draw(seed)
            compile_for(c, step_of, described_mesh(c["chip"]), (jax, smj, sm))
            (dump,) = folder.glob("*after_optimizations-buffer-assignment.txt")
            print(json.dumps(assignment_of(dump.read_text(), c["faster_memory"])), flush=True)
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(draw, step_of, *map(int, sys.argv[1:]))
