# SPDX-License-Identifier: Apache-2.0
"""Attention by other libraries, for `splashmask bench attention`; peers_session.py follows."""

import functools
import operator
import os
import time


class Predicate:
    """A mask's text form as a function of q and kv."""

    def __init__(self, function):
        self.function = function

    def __and__(self, other):
        return Predicate(lambda q, kv: self.function(q, kv) & other.function(q, kv))

    def __or__(self, other):
        return Predicate(lambda q, kv: self.function(q, kv) | other.function(q, kv))

    def __xor__(self, other):
        return Predicate(lambda q, kv: self.function(q, kv) ^ other.function(q, kv))

    def __sub__(self, other):
        return self & ~other

    def __invert__(self):
        return Predicate(lambda q, kv: ~self.function(q, kv))


def local(left, right, offset=0):
    def function(q, kv):
        bounds = []
        if left is not None:
            bounds.append(q + offset - left <= kv)
        if right is not None:
            bounds.append(kv <= q + offset + right)
        return functools.reduce(operator.and_, bounds or [q == q])
    return Predicate(function)


POSITIONAL = {
    "none": None,
    "local": local,
    "full": lambda: Predicate(lambda q, kv: q == q),
    "empty": lambda: Predicate(lambda q, kv: q != q),
    "causal": lambda offset=0: Predicate(lambda q, kv: q + offset >= kv),
    "chunked_causal": lambda chunk: Predicate(
        lambda q, kv: (q // chunk == kv // chunk) & (q >= kv)),
    "prefix": lambda n: Predicate(lambda q, kv: kv < n),
    "q_range": lambda a, b: Predicate(lambda q, kv: (a <= q) & (q < b)),
    "kv_range": lambda a, b: Predicate(lambda q, kv: (a <= kv) & (kv < b)),
    "stride": lambda step, phase=0: Predicate(lambda q, kv: (q - kv) % step == phase),
}


class Case:
    """What a request to load says, with NumPy arrays: [batch, heads, length, dim]."""

    def __init__(self, request):
        import numpy as np
        self.dtype = request["dtype"]
        self.text = request["mask"]
        self.kind = request["kind"]  # "full", "causal", or "other".
        self.backward = request["backward"]
        self.arrays = [np.fromfile(file, np.float32).reshape(shape)
                       for file, shape in request["arrays"]]  # q, k, v, do
        self.is_shared = self.arrays[0].shape[1] != self.arrays[1].shape[1]
        self.shape = self.arrays[0].shape[2], self.arrays[1].shape[2]
        self.folder = request["folder"]
        self.cells = None  # [1 or heads, q_len, kv_len]
        if request["cells"] is not None:
            self.cells = np.fromfile(request["cells"], np.uint8).reshape(-1, *self.shape) != 0

    def write(self, name, arrays):
        """{"files": {what: file}}: float32, in C order."""
        files = {}
        for what, array in arrays.items():
            files[what] = os.path.join(self.folder, f"{name}-{what}.bin")
            array.tofile(files[what])
        return {"files": files}

    def predicate(self):
        try:
            return eval(self.text, {"__builtins__": {}} | POSITIONAL).function
        except Exception:
            return None  # Of arrays, or documents: its cells tell.

    def need_cells(self):
        if self.cells is None:
            raise MemoryError("a mask of this size does not fit in memory cell by cell")
        return self.cells


class Peer:
    def settle(self):
        """Waits, for a while, until no thread of ours is at work any more: what a library cleans up behind
        itself would slow down whose turn is next."""
        for _ in range(100):
            before = time.process_time()
            time.sleep(0.02)
            if time.process_time() - before < 0.002:
                return


class Torch(Peer):
    def __init__(self, threads):
        import torch
        self.torch = torch
        torch.set_num_threads(threads)
        self.version = torch.__version__

    def load(self, case):
        dtype = getattr(self.torch, case.dtype)
        self.q, self.k, self.v, self.do = (self.torch.from_numpy(x).to(dtype) for x in case.arrays)
        self.case = case
        self.attend = self.make(case)
        self.run()  # Compiles.

    def run(self):
        if not self.case.backward:
            with self.torch.no_grad():
                return {"out": self.attend(self.q, self.k, self.v)}
        inputs = [x.detach().requires_grad_() for x in (self.q, self.k, self.v)]
        out = self.attend(*inputs)
        out.backward(self.do)
        return {"out": out.detach()} | {name: x.grad for name, x in zip(("dq", "dk", "dv"), inputs)}

    def tell(self, name):
        return self.case.write(name, {what: x.float().numpy() for what, x in self.run().items()})


class Sdpa(Torch):
    """torch.nn.functional.scaled_dot_product_attention"""

    def make(self, case):
        mask = {}
        if case.kind == "causal":
            mask = {"is_causal": True}
        elif case.kind != "full":
            mask = {"attn_mask": self.torch.from_numpy(case.need_cells())[None]}
        return functools.partial(self.torch.nn.functional.scaled_dot_product_attention, scale=1.0,
                                 enable_gqa=case.is_shared, **mask)


class Flex(Torch):
    """torch.nn.attention.flex_attention, compiled, with its BlockMask"""

    def make(self, case):
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        predicate = case.predicate()
        heads = None
        if predicate is not None:
            def visible(b, h, q, kv):
                return predicate(q, kv)
        else:
            cells = self.torch.from_numpy(case.need_cells())
            heads = len(cells) if len(cells) > 1 else None

            def visible(b, h, q, kv):
                return cells[h if heads else 0, q, kv]
        block_mask = create_block_mask(visible, None, heads, *case.shape, device="cpu")
        return functools.partial(self.torch.compile(flex_attention), block_mask=block_mask, scale=1.0,
                                 enable_gqa=case.is_shared)


class Jax(Peer):
    """jax.nn.dot_product_attention, in jit; arrays lie as it takes them"""

    def __init__(self, threads):
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax
        self.jax = jax
        self.version = jax.__version__

    def load(self, case):
        jnp = self.jax.numpy
        self.q, self.k, self.v, self.do = (jnp.asarray(x.swapaxes(1, 2), case.dtype)
                                           for x in case.arrays)
        mask = {}
        if case.kind == "causal":
            mask = {"is_causal": True}
        elif case.kind != "full":
            mask = {"mask": jnp.asarray(case.need_cells())[None]}
        attend = functools.partial(self.jax.nn.dot_product_attention, scale=1.0, **mask)

        def gradients(q, k, v):
            out, pull_back = self.jax.vjp(attend, q, k, v)
            return out, *pull_back(self.do)

        self.names = ("out", "dq", "dk", "dv") if case.backward else ("out",)
        self.function = self.jax.jit(gradients if case.backward else lambda *x: (attend(*x),))
        self.case = case
        self.run()  # Compiles.

    def run(self):
        results = self.jax.block_until_ready(self.function(self.q, self.k, self.v))
        return dict(zip(self.names, results))

    def tell(self, name):
        import numpy as np
        return self.case.write(name, {what: np.asarray(x, np.float32).swapaxes(1, 2)
                                      for what, x in self.run().items()})


PEERS = {"sdpa": Sdpa, "flex": Flex, "jax": Jax}
