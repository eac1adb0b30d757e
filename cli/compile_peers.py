# SPDX-License-Identifier: Apache-2.0
"""Block tables made by JAX and by tokamax, for `splashmask bench compile`; peers_session.py follows.

A mask comes as a tree of {"kind": ...}, as cli/mask_tree.h writes it. Where a library has the class it
gets its own mask object, and else a subclass of its Mask, as its user would write it in NumPy.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import os

try:
    import numpy as np
except ImportError:  # Then no peer can be imported either, and says so.
    np = None


class Spell(ast.NodeTransformer):
    """A condition on integers -> the same on arrays: and, or and not, and chains of comparisons."""

    def call(self, name, *arguments):
        return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])

    def visit_BoolOp(self, node):
        name = "_and" if isinstance(node.op, ast.And) else "_or"
        return functools.reduce(lambda a, b: self.call(name, a, b), map(self.visit, node.values))

    def visit_UnaryOp(self, node):
        self.generic_visit(node)
        return self.call("_not", node.operand) if isinstance(node.op, ast.Not) else node

    def visit_Compare(self, node):
        self.generic_visit(node)
        operands = [node.left, *node.comparators]
        pairs = [ast.Compare(a, [op], [b]) for a, op, b in zip(operands, node.ops, operands[1:])]
        return functools.reduce(lambda a, b: self.call("_and", a, b), pairs)


def where(text, shape):
    code = compile(ast.fix_missing_locations(Spell().visit(ast.parse(text, mode="eval"))), text, "eval")
    names = {"__builtins__": {}, "q_len": shape[0], "kv_len": shape[1], "_and": np.logical_and,
             "_or": np.logical_or, "_not": np.logical_not, "abs": np.abs,
             "min": lambda *x: functools.reduce(np.minimum, x),
             "max": lambda *x: functools.reduce(np.maximum, x)}

    def function(q, kv):
        with np.errstate(all="ignore"):  # Of cells that `and` and `or` leave alone.
            return eval(code, names, {"q": q, "kv": kv})
    return function


def local(left, right, offset):
    def function(q, kv):
        cells = True
        if left is not None:
            cells = kv - q >= offset - left
        if right is not None:
            cells = cells & (kv - q <= offset + right)
        return cells
    return function


def documents(lengths):
    ends = np.cumsum(np.asarray(lengths, np.int64))

    def find(x):
        inside = (x >= 0) & (x < (ends[-1] if ends.size else 0))
        return np.where(inside, np.searchsorted(ends, x, side="right"), -1)

    def function(q, kv):
        q, kv = find(q), find(kv)
        return (q == kv) & (q >= 0)
    return function


def segments(q_ids, kv_ids, pad):
    q_ids, kv_ids = q_ids.astype(np.int64), kv_ids.astype(np.int64)

    def function(q, kv):
        same = q_ids[q] == kv_ids[kv]
        return same if pad is None else same & (q_ids[q] != pad)
    return function


def function_of(tree, shape, read):
    """The mask as a function of int64 arrays of q and kv positions that broadcast."""
    kind = tree["kind"]
    parts = [function_of(part, shape, read) for name, part in tree.items()
             if name in ("mask", "left", "right") and isinstance(part, dict)]
    if kind in ("not", "and", "or", "xor", "sub"):
        a, b = parts[0], parts[-1]
        return {"not": lambda q, kv: np.logical_not(a(q, kv)), "and": lambda q, kv: a(q, kv) & b(q, kv),
                "or": lambda q, kv: a(q, kv) | b(q, kv), "xor": lambda q, kv: a(q, kv) ^ b(q, kv),
                "sub": lambda q, kv: a(q, kv) & np.logical_not(b(q, kv))}[kind]
    if kind == "reorder":
        q_at, kv_at = (None if tree[axis] is None else read(tree[axis]).astype(np.int64)
                       for axis in ("q", "kv"))
        return lambda q, kv: parts[0](q if q_at is None else q_at[q], kv if kv_at is None else kv_at[kv])
    if kind == "blocks":
        bits, block = read(tree["bits"]), tree["block"]
        return lambda q, kv: bits[q // block, kv // block]
    if kind == "dense":
        cells = read(tree["array"])
        return lambda q, kv: cells[q, kv]
    if kind == "documents":
        return documents(tree["lengths"])
    if kind == "segments":
        return segments(read(tree["q_ids"]), read(tree["kv_ids"]), tree["pad"])
    if kind == "where":
        return where(tree["predicate"], shape)
    if kind == "local":
        return local(tree["left"], tree["right"], tree["offset"])
    offset, chunk, n, begin, end, step, phase = map(
        tree.get, ("offset", "chunk", "n", "begin", "end", "step", "phase"))
    return {
        "full": lambda q, kv: True,
        "empty": lambda q, kv: False,
        "causal": lambda q, kv: kv - q <= offset,
        "chunked_causal": lambda q, kv: (q // chunk == kv // chunk) & (q >= kv),
        "prefix": lambda q, kv: kv < n,
        "q_range": lambda q, kv: (begin <= q) & (q < end),
        "kv_range": lambda q, kv: (begin <= kv) & (kv < end),
        "stride": lambda q, kv: (q - kv) % step == phase,
    }[kind]


class Builder:
    """Trees as mask objects of a library, whose module of masks it is given."""

    def __init__(self, library, shape, read):
        self.library, self.shape, self.read = library, shape, read

        class Opaque(library.Mask):
            """A mask of which the library knows nothing but its cells."""

            def __init__(self, tree):
                self.key = json.dumps(tree, sort_keys=True)
                self.function = function_of(tree, shape, read)

            @property
            def shape(self):
                return shape

            def __getitem__(self, index):
                rows, columns = (np.arange(*x.indices(n)) for x, n in zip(index, shape))
                cells = self.function(rows[:, None], columns[None, :])
                return np.broadcast_to(cells, (rows.size, columns.size))

            def __eq__(self, other):
                return isinstance(other, Opaque) and self.key == other.key

            def __hash__(self):
                return hash(self.key)

        self.opaque = Opaque

    def computable(self, tree):
        """What the library computes in its kernel, or None."""
        kind = tree["kind"]
        if kind == "causal":
            return self.library.CausalMask(self.shape, tree["offset"])
        if kind == "local":
            return self.library.LocalMask(self.shape, (tree["left"], tree["right"]), tree["offset"])
        if kind == "chunked_causal":
            return self.library.ChunkedCausalMask(self.shape, tree["chunk"])
        if kind == "reorder" and tree["kv"] is None:
            mask = self.computable(tree["mask"])
            if mask is not None:
                mask.q_sequence = self.read(tree["q"])
            return mask
        return None

    def __call__(self, tree):
        kind = tree["kind"]
        if kind == "and":
            return self(tree["left"]) & self(tree["right"])
        if kind == "or":
            return self(tree["left"]) | self(tree["right"])
        if kind == "full":
            return self.library.FullMask(self.shape)
        if kind == "dense":
            return self.library.NumpyMask(self.read(tree["array"]))
        mask = self.computable(tree)
        return self.opaque(tree) if mask is None else mask


class Case:
    """What a request to load says."""

    def __init__(self, request):
        self.shape, self.block = tuple(request["shape"]), tuple(request["block"])
        self.passes = request["passes"]
        self.masks, self.heads = request["masks"], request["heads"]  # Distinct trees; that of each head.
        self.arrays = {}

    def read(self, array):
        file = array["file"]
        if file not in self.arrays:
            is_bool = array["dtype"] == "bool"
            read = np.fromfile(file, np.uint8 if is_bool else array["dtype"]).reshape(array["shape"])
            self.arrays[file] = read != 0 if is_bool else read
        return self.arrays[file]

    def build(self, library):
        """The mask of each head; equal ones are one object."""
        masks = list(map(Builder(library, self.shape, self.read), self.masks))
        return [masks[i] for i in self.heads]


def describe(name, value):
    """[dtype, shape, SHA-256 of the elements], or what is no array as it is."""
    if not hasattr(value, "dtype"):
        return value
    value = np.asarray(value)
    elements = value
    # Eight cells to a byte, where they are cells.
    if name == "partial_mask_blocks" and (value == value.astype(bool)).all():
        elements = np.packbits(value.astype(bool), axis=-1, bitorder="little")
    digest = hashlib.sha256(np.ascontiguousarray(elements)).hexdigest()
    return [str(value.dtype), list(value.shape), digest]


class Tables:
    """What a library's process_mask makes, `self.info` being its module."""

    def load(self, case):
        self.case, self.mask = case, self.make(case)
        self.tables = {}

    def run(self):
        self.tables = {}
        for name in self.case.passes:
            process = self.info.process_mask_dkv if name == "dkv" else self.info.process_mask
            process.func.cache_clear()
            self.tables[name] = process(self.mask, self.case.block)
            process.func.cache_clear()

    def settle(self):
        pass  # Nothing of NumPy's goes on behind a call.

    def tell(self, name):
        """Of the last run, once."""
        passes = {}
        for name, (info, function) in self.tables.items():
            passes[name] = {field: describe(field, value) for field, value in info._asdict().items()}
            passes[name]["mask_function"] = function is not None
        self.tables = {}  # They may be large.
        return {"passes": passes}


class Jax(Tables):
    def __init__(self, threads):
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax
        from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
        from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask_info as info
        self.version, self.masks, self.info = jax.__version__, masks, info

    def make(self, case):
        return self.masks.MultiHeadMask(case.build(self.masks))


class Tokamax(Tables):
    def __init__(self, threads):
        os.environ["JAX_PLATFORMS"] = "cpu"
        from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask as masks
        from tokamax._src.ops.experimental.tpu.splash_attention import splash_attention_mask_info as info
        self.version, self.masks, self.info = importlib.metadata.version("tokamax"), masks, info

    def make(self, case):
        if len(case.masks) > 1:
            raise ValueError("tokamax has one mask for all heads")
        return case.build(self.masks)[0]


PEERS = {"jax": Jax, "tokamax": Tokamax}
