#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the goldens: cases and what JAX 0.10.2 answers, one JSON object a line.

    python tests/golden/generate.py [--output DIRECTORY]

The same versions of JAX and NumPy (tests/python/requirements.txt) write the same bytes.

A case has `name`, `block`, the options, and either `mask`, `shape`, `heads` and `arrays`, or, for a
mask known only at run time, `dynamic`. `fwd` and `dkv` hold the fields of MaskInfo; a field that is
null is None in JAX. `mask_function` is the text of the mask that the kernel computes, or null.

An array has `dtype`, `shape` and one of
  values   its elements in C order;
  bits     bools, packed along the last axis in little bit order, as hex;
  counter  bools; in C order, run i of 16 bits holds i + 1, lowest bit first, for i < counter, and
           every other bit is 0;
  sha256   of the elements in C order, little endian, bools packed as in `bits`.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys

os.environ.setdefault("JAX_PLATFORMS", "cpu")
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

import jax.numpy as jnp
import jax_reference
import mask_generator
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as jax_info
from mask_cases import Case, GeneratorSource, MaskBuilder, heads_text

# Larger arrays are written as their SHA-256; a mask's own arrays are never larger.
_MOST_VALUES = 160
_MOST_BITS = 2048


def _packed(bools):
    rows = bools.reshape(-1, bools.shape[-1])
    return np.packbits(rows, axis=1, bitorder="little").tobytes()


def _encode(array):
    if array is None:
        return None
    array = np.asarray(array)
    header = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if array.dtype == bool:
        content = _packed(array)
        if array.size <= _MOST_BITS:
            return header | {"bits": content.hex()}
    else:
        content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        if array.size <= _MOST_VALUES:
            return header | {"values": array.ravel().tolist()}
    return header | {"sha256": hashlib.sha256(content).hexdigest()}


def _encode_info(info):
    fields = ("data_next", "mask_next", "block_mask", "partial_mask_blocks", "q_sequence")
    return {field: _encode(getattr(info, field)) for field in fields}


def _encode_case(name, case, encoded_arrays=None):
    """The case with JAX's answer, which it must have."""
    answers = [jax_reference.process(case.jax_mask(), case, is_dkv) for is_dkv in (False, True)]
    mask_function = None
    if answers[0][1] is not None:
        mask_function = case.heads[0].function_text
        assert mask_function is not None
    return {
        "name": name,
        "mask": case.text,
        "shape": list(case.shape),
        "heads": len(case.heads),
        "arrays": encoded_arrays or {k: _encode(v) for k, v in case.arrays.items()},
        "block": list(case.block),
        **case.options(),
        "fwd": _encode_info(answers[0][0]),
        "dkv": _encode_info(answers[1][0]),
        "mask_function": mask_function,
    }


def random_cases(kind, count, seed):
    """Cases that JAX can answer, with arrays that are small enough to be written out."""
    source = GeneratorSource(seed)
    written = 0
    while written < count:
        case = mask_generator.random_case(source, kind)
        encoded = [_encode(array) for array in case.arrays.values()]
        if any("sha256" in array for array in encoded):
            continue
        if jax_reference.why_jax_fails(case, case.values()):
            continue
        yield _encode_case(f"{kind} {written}", case)
        written += 1


def _one_mask(builder, mask, block, name, **options):
    case = Case(builder.shape, (mask,), mask.text, builder.arrays, block, **options)
    return _encode_case(name, case)


def _partial_ids(count):
    """`count` different partial blocks."""
    q_blocks = 8 if count < 200 else 128
    shape = q_blocks, 16 * (-(-count // q_blocks) + 1)
    bits = np.zeros(shape, bool)
    patterns = np.arange(1, count + 1).astype("<u2").view(np.uint8)
    bits.reshape(-1)[: 16 * count] = np.unpackbits(patterns, bitorder="little")
    builder = MaskBuilder(shape)
    mask = builder.dense(bits)
    case = Case(shape, (mask,), mask.text, builder.arrays, (1, 16))
    (name,) = builder.arrays
    encoded = {name: {"dtype": "bool", "shape": list(shape), "counter": count}}
    return _encode_case(f"partial ids {count}", case, encoded)


def boundary_cases():
    """Tables whose largest entry is at the edge of a dtype."""
    for count in (127, 128, 129, 32767, 32768, 32769):
        for shape in ((1, count), (count, 1)):
            builder = MaskBuilder(shape)
            for shrink in (True, False):
                name = f"full {shape} shrink_grid={shrink}"
                yield _one_mask(builder, builder.full(), (1, 1), name, shrink_grid=shrink)
        yield _partial_ids(count)
    for count in (127, 128, 129):
        builder = MaskBuilder((2 * count, 2))
        name = f"q indices of a shard {count}"
        yield _one_mask(builder, builder.causal(), (1, 2), name, q_seq_shards=2)


def dynamic_cases(grids, count, seed):
    rng = np.random.default_rng(seed)
    for i in range(count):
        (heads, q_blocks, kv_blocks), (block_q, block_kv), head_shards, q_seq_shards = grids[
            i % len(grids)
        ]
        tiles = rng.random((heads, q_blocks, kv_blocks, block_q, block_kv)) < rng.random()
        classes = rng.integers(3, size=tiles.shape[:3])[..., None, None]
        tiles = np.where(classes == 0, False, np.where(classes == 2, True, tiles))
        mask = tiles.swapaxes(2, 3).reshape(heads, q_blocks * block_q, kv_blocks * block_kv)
        options = {
            "head_shards": head_shards,
            "q_seq_shards": q_seq_shards,
            "downcast_smem_data": i % 3 != 0,
        }
        block = (block_q, block_kv)
        dynamic = jnp.asarray(mask)
        yield {
            "name": f"dynamic {i}",
            "dynamic": _encode(mask),
            "block": list(block),
            **options,
            "fwd": _encode_info(jax_info.process_dynamic_mask(dynamic, block, **options)[0]),
            "dkv": _encode_info(jax_info.process_dynamic_mask_dkv(dynamic, block, **options)[0]),
        }


_DYNAMIC_GRIDS = [
    ((1, 3, 5), (2, 3), 1, 3),
    ((4, 4, 4), (4, 5), 2, 2),
    ((2, 2, 3), (8, 8), 2, 1),
    ((1, 2, 64), (2, 2), 1, 1),
]


def generate(output):
    files = {
        "static": random_cases("static", 250, 1),
        "q_sequence": random_cases("q_sequence", 160, 2),
        "every_node": random_cases("every node", 160, 3),
        "boundaries": boundary_cases(),
        "dynamic": dynamic_cases(_DYNAMIC_GRIDS, 24, 4),
    }
    for name, cases in files.items():
        with open(output / f"{name}.jsonl", "w", encoding="ascii", newline="\n") as file:
            for case in cases:
                file.write(json.dumps(case, separators=(",", ":")) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=HERE / "data")
    generate(parser.parse_args().output)


if __name__ == "__main__":
    main()
