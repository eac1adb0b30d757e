# SPDX-License-Identifier: Apache-2.0
"""Draws random cases from a Source."""

import dataclasses

import mask_text
import numpy as np
from mask_cases import _AND, _SUB, _UNARY, _XOR, Case, MaskBuilder, heads_text

_BLOCKS = [1, 2, 3, 4, 5, 7, 8, 9, 12, 16]
_WIDE_BLOCKS = [16, 24, 31, 32, 33, 63, 64, 65, 100, 128, 130]
# JAX loops over every block of every head in Python.
_MAX_BLOCKS = 300
_MAX_BLOCKS_OF_ALL_HEADS = 900


def _divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


def _rng(source):
    return np.random.default_rng(source.integer(0, 2**32 - 1))


def random_grid(source):
    """(blocks along q, blocks along kv), (block_q, block_kv)."""
    style = source.choice(["small", "small", "small", "square", "square", "thin", "tall", "wide"])
    if style == "square":
        count, size = source.integer(1, 10), source.choice(_BLOCKS)
        return (count, count), (size, size)
    if style == "wide":
        counts = source.integer(1, 3), source.integer(1, 3)
        return counts, (source.choice(_WIDE_BLOCKS), source.choice(_WIDE_BLOCKS))
    if style == "small":
        counts = source.integer(1, 8), source.integer(1, 8)
        return counts, (source.choice(_BLOCKS), source.choice(_BLOCKS))
    counts = source.integer(1, 2), source.integer(9, 140)
    sizes = source.integer(1, 4), source.integer(1, 4)
    return (counts, sizes) if style == "thin" else (counts[::-1], sizes[::-1])


class RandomMasks:
    """Random expressions of one shape. `kind` says which leaves there are:

    "static": JAX's own masks. "q_sequence": the same, most of them with reassigned positions.
    "every node": those of the mask language that JAX has no class for, too.
    """

    def __init__(self, source, shape, block, kind):
        self.source = source
        self.builder = MaskBuilder(shape, block)
        self.kind = kind

    @property
    def _length(self):
        return max(self.builder.shape)

    def offset(self):
        size = self.source.integer(0, 39)
        if size < 16:
            return 0
        if size < 24:
            return self.source.integer(-max(self.builder.block), max(self.builder.block))
        if size < 36:
            return self.source.integer(-self._length, self._length)
        if size < 39:
            return self.source.integer(-2 * self._length - 1, 2 * self._length + 1)
        return self.source.choice([2**31 - 1, -(2**31), 2**31, 2**31 - 1 - self._length, -(2**40)])

    def window(self):
        size = self.source.integer(0, 39)
        if size < 10:
            return None
        if size < 18:
            return self.source.integer(0, max(self.builder.block))
        if size < 35:
            return self.source.integer(0, self._length)
        if size < 39:
            return self.source.integer(-self._length, self._length + 1)
        return self.source.choice([2**31 - 1, -(2**31), 2**31, 3 * self._length])

    def positions(self):
        """A q_sequence and how the text names it."""
        q_len = self.builder.shape[0]
        rng = _rng(self.source)
        styles = ["permuted", "identity", "reversed", "rolled", "repeated", "outside", "layout"]
        style = self.source.choice(styles)
        if style == "layout":
            options = [f"striped({n})" for n in _divisors(q_len)]
            options += [f"zigzag({n})" for n in _divisors(q_len // 2) if q_len % (2 * n) == 0]
            text = self.source.choice(options)
            layout, n = text.rstrip(")").split("(")
            return getattr(mask_text, layout)(q_len, int(n)), text
        identity = np.arange(q_len)
        positions = {
            "permuted": lambda: rng.permutation(q_len),
            "identity": lambda: identity,
            "reversed": lambda: identity[::-1].copy(),
            "rolled": lambda: np.roll(identity, int(rng.integers(q_len))),
            "repeated": lambda: rng.integers(0, q_len, q_len),
            "outside": lambda: rng.integers(-self._length, 2 * self._length, q_len),
        }[style]()
        dtypes = 3 * ["int32", "int64"] + ["int16"]
        if self._length <= 40:
            dtypes.append("int8")
        if positions.min() >= 0:
            dtypes += ["uint16", "uint32", "uint64"]
        positions = positions.astype(self.source.choice(dtypes))
        return positions, f'"{self.builder.add_array("q", positions)}"'

    def dense_array(self):
        shape, (block_q, block_kv) = self.builder.shape, self.builder.block
        rng = _rng(self.source)
        style = self.source.choice(["random", "random", "blocks", "blocks", "constant", "one cell"])
        if style == "random":
            return rng.random(shape) < self.source.choice([0.02, 0.2, 0.5, 0.8, 0.98])
        if style == "constant":
            return np.full(shape, bool(self.source.integer(0, 3)))
        if style == "one cell":
            array = np.full(shape, bool(self.source.integer(0, 1)))
            array[rng.integers(shape[0]), rng.integers(shape[1])] ^= True
            return array
        # Empty and full blocks, and a few partial blocks that occur again and again.
        patterns = rng.random((4, block_q, block_kv)) < 0.5
        patterns[0], patterns[1] = False, True
        grid = rng.integers(4, size=(shape[0] // block_q, shape[1] // block_kv))
        return patterns[grid].swapaxes(1, 2).reshape(shape)

    def leaf(self):
        builder, source = self.builder, self.source
        positions, position_text = None, None
        if self.kind != "static" and source.integer(0, 4) > (0 if self.kind == "q_sequence" else 3):
            positions, position_text = self.positions()
        names = ["causal", "causal", "local", "local", "local", "chunked_causal"]
        if positions is None:
            names += ["full", "dense", "dense"]
        if self.kind == "every node":
            names += ["ours"] * 9
        name = source.choice(names)
        if name == "causal":
            shard_count = 1
            if positions is None and builder.shape[0] % 4 == 0:
                shard_count = source.choice([1, 2])
            return builder.causal(self.offset(), positions, position_text, shard_count)
        if name == "local":
            sides = self.window(), self.window()
            return builder.local(*sides, self.offset(), positions, position_text)
        if name == "chunked_causal":
            chunk = source.integer(1, 2 * self._length)
            return builder.chunked_causal(chunk, positions, position_text)
        if name == "full":
            return builder.full()
        if name == "dense":
            return builder.dense(self.dense_array())
        return builder.external(self.external_text())

    def external_text(self):
        builder, source = self.builder, self.source
        q_len, kv_len = builder.shape
        rng = _rng(source)

        def ranges(length):
            return f"{source.integer(-2, length + 2)}, {source.integer(-2, length + 2)}"

        def lengths():
            cuts = np.sort(rng.integers(0, min(q_len, kv_len) + 1, source.integer(0, 5)))
            return np.diff(cuts, prepend=0)

        def segments():
            q_ids, kv_ids = (np.sort(rng.integers(0, 4, n)) for n in (q_len, kv_len))
            names = [f'"{builder.add_array("s", q_ids.astype(np.int32))}"']
            if q_len != kv_len or source.integer(0, 1):
                names.append(f'"{builder.add_array("s", kv_ids)}"')
            if source.integer(0, 1):
                names.append(f"pad={source.integer(0, 3)}")
            return f"segments({', '.join(names)})"

        def blocks():
            size = source.integer(1, max(q_len, kv_len) + 1)
            bits = rng.random((-(-q_len // size), -(-kv_len // size))) < 0.6
            return f'blocks("{builder.add_array("b", bits)}", {size})'

        def stride():
            step = source.integer(1, max(q_len, kv_len) + 1)
            return f"stride({step}, {source.integer(0, step - 1)})"

        def reordered():
            if source.integer(0, 1):
                text = f"documents({lengths().tolist()}) | prefix({source.integer(0, kv_len)})"
                positions = rng.integers(-3, q_len + 3, q_len)
            else:
                text = segments()
                positions = rng.permutation(q_len)
            return f'reorder({text}, q="{builder.add_array("q", positions)}")'

        def columns():
            kv = source.choice([
                lambda: rng.permutation(kv_len),
                lambda: rng.integers(0, kv_len, kv_len).astype(np.int16),
                lambda: np.arange(kv_len)[::-1],
            ])()
            order = f'kv="{builder.add_array("k", kv)}"'
            if source.integer(0, 1):
                order = f'q="{builder.add_array("q", rng.permutation(q_len))}", {order}'
            return f"reorder({self.external_text()}, {order})"

        def where():
            m, n = source.integer(1, 9), source.integer(1, max(q_len, kv_len))
            predicate = source.choice([
                f"q >= kv and (q - kv) % {m} < {n}",
                f"kv // {n} <= q // {n}",
                f"abs(q - kv) * {m} < kv + {n}",
                f"abs(q // {m} - kv // {m}) <= 1 and abs(q % {m} - kv % {m}) <= {n}",
                f"q == 0 or kv % q < {m}",
                f"-{n} <= q * {m} - kv < {n} or kv_len - kv <= q_len - q",
                f"not max(q // {m}, kv) - min(q, kv, {n}) > {m}",
            ])
            return f'where("{predicate}")'

        return source.choice([
            lambda: "empty()",
            lambda: f"prefix({source.integer(-2, kv_len + 2)})",
            lambda: f"q_range({ranges(q_len)})",
            lambda: f"kv_range({ranges(kv_len)})",
            stride,
            lambda: f"documents({lengths().tolist()})",
            lambda: f'documents("{builder.add_array("n", lengths())}")',
            segments,
            blocks,
            reordered,
            columns,
            where,
            where,
        ])()

    def expression(self, depth):
        if depth == 0 or self.source.integer(0, 2) == 0:
            return self.leaf()
        if self.kind == "every node" and self.source.integer(0, 2) == 0:
            a = self.expression(depth - 1)
            symbol, level = self.source.choice([("~", _UNARY), ("^", _XOR), ("-", _SUB)])
            if symbol == "~":
                return self.builder.external(f"~{a.above(_UNARY)}", level)
            b = self.expression(depth - 1)
            text = f"{a.above(level)} {symbol} {b.above(level + 1)}"
            return self.builder.external(text, level)
        a, b = self.expression(depth - 1), self.expression(depth - 1)
        return self.builder.combine(self.source.choice(["&", "|"]), a, b)

    def twin(self, expr):
        """Another mask that is equal to `expr` in every cell, or the same mask again."""
        builder = self.builder
        style = self.source.choice(["dense", "swapped", "again", "windowed"])
        if style == "dense":
            return builder.dense(mask_text.materialise(expr.text, builder.shape, builder.arrays))
        if style == "swapped" and expr.level != _AND:
            return builder.combine("&", expr, builder.full())
        if style == "swapped":
            return builder.combine("&", builder.full(), expr)
        if style == "windowed":
            return builder.combine("|", expr, expr)
        return expr


def random_case(source, kind="static"):
    (q_blocks, kv_blocks), block = random_grid(source)
    kv_blocks = min(kv_blocks, _MAX_BLOCKS // q_blocks)
    shape = q_blocks * block[0], kv_blocks * block[1]
    masks = RandomMasks(source, shape, block, kind)

    pool = [masks.expression(source.choice([0, 0, 1, 2, 3]))]
    for _ in range(source.choice([0, 0, 1, 1, 2])):
        if source.integer(0, 2) == 0:
            pool.append(masks.twin(pool[0]))
        else:
            pool.append(masks.expression(source.choice([0, 0, 1, 2])))
    most_heads = max(1, _MAX_BLOCKS_OF_ALL_HEADS // (q_blocks * kv_blocks))
    num_heads = min(source.integer(1, 8), most_heads)
    head_shards = source.choice(_divisors(num_heads))
    heads_per_shard = num_heads // head_shards
    if len(pool) == 1:
        heads = pool * num_heads
    elif source.integer(0, 1):  # One mask a shard.
        heads = [pool[h // heads_per_shard % len(pool)] for h in range(num_heads)]
    else:
        heads = [source.choice(pool) for _ in range(num_heads)]
    text = heads_text(heads, runs=bool(source.integer(0, 1)))
    if len(pool) == 1 and source.integer(0, 1):
        text = heads[0].text  # One mask, for every head.
    return Case(
        shape=shape,
        heads=tuple(heads),
        text=text,
        arrays=masks.builder.arrays,
        block=block,
        head_shards=head_shards,
        q_seq_shards=source.choice(_divisors(q_blocks)),
        downcast_smem_data=bool(source.integer(0, 2)),
        shrink_grid=bool(source.integer(0, 2)),
    )


def with_options(case, **changes):
    return dataclasses.replace(case, **changes)
