# SPDX-License-Identifier: Apache-2.0
"""The mask language, evaluated the slow and obvious way: the text is Python, so Python reads it."""

import numpy as np


class TextMask:
    """A mask as a function of broadcastable arrays of q and kv positions.

    Arithmetic is that of the arrays: exact for Python integers (dtype object), 64 bits for int64.
    """

    def __init__(self, function):
        self.function = function

    def __call__(self, q, kv):
        shape = np.broadcast_shapes(q.shape, kv.shape)
        return np.broadcast_to(self.function(q, kv), shape).astype(bool)

    def __invert__(self):
        return TextMask(lambda q, kv: ~self(q, kv))

    def __and__(self, other):
        return TextMask(lambda q, kv: self(q, kv) & other(q, kv))

    def __or__(self, other):
        return TextMask(lambda q, kv: self(q, kv) | other(q, kv))

    def __xor__(self, other):
        return TextMask(lambda q, kv: self(q, kv) ^ other(q, kv))

    def __sub__(self, other):
        return TextMask(lambda q, kv: self(q, kv) & ~other(q, kv))


def zigzag(q_len, n):
    """2n equal pieces; shard i holds pieces i and 2n-1-i."""
    pieces = np.arange(q_len, dtype=np.int32).reshape(2 * n, -1)
    return np.concatenate([pieces[[i, 2 * n - 1 - i]].ravel() for i in range(n)])


def striped(q_len, n):
    """Shard i holds the positions congruent to i modulo n."""
    return np.concatenate([np.arange(i, q_len, n, dtype=np.int32) for i in range(n)])


def _local(left, right, offset=0):
    def function(q, kv):
        mask = np.ones(np.broadcast_shapes(q.shape, kv.shape), bool)
        if left is not None:
            mask &= (q + offset - left <= kv).astype(bool)
        if right is not None:
            mask &= (kv <= q + offset + right).astype(bool)
        return mask

    return TextMask(function)


def _documents(lengths):
    ends = np.cumsum(np.asarray(lengths, np.int64))

    def document(positions):
        positions = positions.astype(np.int64)
        inside = (positions >= 0) & (positions < (ends[-1] if len(ends) else 0))
        return np.where(inside, np.searchsorted(ends, positions, side="right"), -1)

    return TextMask(lambda q, kv: (document(q) == document(kv)) & (document(q) >= 0))


def _segments(q_ids, kv_ids, pad):
    def function(q, kv):
        a, b = q_ids[q.astype(np.int64)], kv_ids[kv.astype(np.int64)]
        same = a == b
        return same if pad is None else same & (a != pad)

    return TextMask(function)


def _where(predicate, q_len, kv_len):
    """The predicate, which is Python, for one pair of Python's integers after the other."""
    code = compile(predicate, "<predicate>", "eval")
    names = {"__builtins__": {}, "abs": abs, "min": min, "max": max, "q_len": q_len,
             "kv_len": kv_len}
    cell = np.frompyfunc(lambda q, kv: eval(code, names, {"q": int(q), "kv": int(kv)}), 2, 1)
    return TextMask(cell)


def read_mask(text, shape=(None, None), arrays=None):
    """One mask's text -> TextMask. `arrays` holds what it names; where, zigzag and striped need the
    shape."""
    q_len, kv_len = shape
    arrays = arrays or {}

    def dense(name):
        array = arrays[name]
        return TextMask(lambda q, kv: array[q.astype(np.int64), kv.astype(np.int64)])

    def blocks(name, size):
        bits = arrays[name]
        return TextMask(lambda q, kv: bits[q.astype(np.int64) // size, kv.astype(np.int64) // size])

    def take(order, length, index):
        if order is None:
            return index
        positions = arrays[order] if isinstance(order, str) else order(length)
        taken = positions[index.astype(np.int64)]
        return taken.astype(object if taken.dtype == np.uint64 else np.int64)

    def reorder(mask, q=None, kv=None):
        return TextMask(lambda rows, columns: mask(take(q, q_len, rows), take(kv, kv_len, columns)))

    names = {
            "none": None,
            "full": lambda: TextMask(lambda q, kv: True),
            "empty": lambda: TextMask(lambda q, kv: False),
            "causal": lambda offset=0: TextMask(lambda q, kv: q + offset >= kv),
            "local": _local,
            "chunked_causal": lambda c: TextMask(lambda q, kv: (q // c == kv // c) & (q >= kv)),
            "prefix": lambda n: TextMask(lambda q, kv: kv < n),
            "q_range": lambda a, b: TextMask(lambda q, kv: (a <= q) & (q < b)),
            "kv_range": lambda a, b: TextMask(lambda q, kv: (a <= kv) & (kv < b)),
            "stride": lambda step, phase=0: TextMask(lambda q, kv: (q - kv) % step == phase),
            "documents": lambda d: _documents(arrays[d] if isinstance(d, str) else d),
            "segments": lambda a, b=None, pad=None: _segments(arrays[a], arrays[b or a], pad),
            "blocks": blocks,
            "dense": dense,
            "reorder": reorder,
            "where": lambda predicate: _where(predicate, q_len, kv_len),
            "zigzag": lambda n: lambda length: zigzag(length, n),
            "striped": lambda n: lambda length: striped(length, n),
    }
    return eval(compile(text, "<mask>", "eval"), {"__builtins__": {}}, names)


def materialise(text, shape, arrays=None):
    """bool[q_len, kv_len] of one mask's text."""
    q_len, kv_len = shape
    return read_mask(text, shape, arrays)(np.arange(q_len)[:, None], np.arange(kv_len)[None, :])
