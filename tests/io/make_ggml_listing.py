#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the cost listing of one decoding step of a Llama-like model, as ggml graphs are listed.

    make_ggml_listing.py --layers 2 --heads 6 --kv-heads 2 --head-dim 16 > small_listing.txt

The graph is that of llama.cpp for one token without flash attention. Costs follow these rules, which
any printed listing shows:

* A matrix product reads its weights or cached rows, x, and multiplies once for every output and row.
* Other operations read only what lies in no temporary storage: a norm's weights, the positions, the
  mask; each of these once, as what was read stays. `get_rows` reads its rows and the row numbers.
* A store's `write` is in bits, eight times its bytes, and the header divides it by 2^30 all the same.
* `tempsize` is what is held while a node runs: its output and every earlier output still needed.
  Views of the cache are no copies, and a node that nothing uses leaves nothing behind.
"""
import argparse
import sys

F32, F16 = 32, 16  # Bits an element.
SHOWN_IN_GIB = ("read", "write")


class Tensor:
    def __init__(self, name, shape, bits=F32, held=False):
        self.name, self.shape, self.held = name, shape, held
        self.elements = 1
        for extent in shape:
            self.elements *= extent
        if self.elements * bits % 8:
            raise SystemExit(f"{name}: {self.elements} elements of {bits} bits are no whole bytes")
        self.bytes = self.elements * bits / 8  # Listings have floats here.

    def __str__(self):
        return f"{self.name}, {self.bytes}, {list(self.shape)}"


class Node:
    def __init__(self, output, operation, costs, inputs, layer):
        self.output, self.operation, self.costs = output, operation, costs
        self.inputs, self.layer = inputs, layer
        self.last_use = None


class Graph:
    """Nodes in the order in which they run."""

    def __init__(self):
        self.nodes = []
        self.layer = None
        self.already_read = set()

    def add(self, name, operation, shape, inputs, costs=None, bits=F32, held=True):
        output = Tensor(name, shape, bits, held)
        self.nodes.append(Node(output, operation, dict(costs or {}), inputs, self.layer))
        return output

    def read_once(self, tensor):
        """The cost of reading what later nodes find in storage."""
        if tensor.name in self.already_read:
            return {}
        self.already_read.add(tensor.name)
        return {"read": tensor.bytes}

    def matmul(self, name, x, y, shape):
        costs = {"fmul": Tensor(name, shape).elements * y.shape[0], "read": x.bytes}
        return self.add(name, "X*Y (MAT_MUL)", shape, [x, y], costs)

    def norm(self, name, x):
        costs = {"fmul": 2 * x.elements, "fdiv": 1, "sqrt": 1}
        return self.add(name, "rms_norm(x)", x.shape, [x], costs)

    def scale(self, name, x, weight):
        costs = {"fmul": x.elements, "read": weight.bytes}
        return self.add(name, "x*y (MUL)", x.shape, [x, weight], costs)

    def plus(self, name, x, y):
        return self.add(name, "x+y", x.shape, [x, y], {"fadd": x.elements})

    def rows(self, name, x, numbers, shape):
        costs = {"read": Tensor(name, shape).bytes + numbers.bytes}
        return self.add(name, "get_rows(x)", shape, [x, numbers], costs)

    def rope(self, name, x, positions):
        costs = {"fmul": 3 * x.elements, "fsin": x.elements, **self.read_once(positions)}
        return self.add(name, "rope(x)", x.shape, [x, positions], costs)

    def softmax(self, name, x, mask, heads):
        n = x.elements
        costs = {"fpow": heads, "fmul": 3 * n, "fadd": 3 * n, "fexp": n, **self.read_once(mask)}
        return self.add(name, "soft_max(x)", x.shape, [x, mask], costs)

    def store(self, x, view):
        costs = {"write": int(view.bytes) * 8}
        self.add(view.name, "x->y (STORE)", view.shape, [x, view], costs, F16, held=False)

    def account(self):
        """Finds the last use of every output, and from these the storage held at each node."""
        node_of = {id(node.output): node for node in self.nodes}
        for index, node in enumerate(self.nodes):
            for tensor in node.inputs:
                if id(tensor) in node_of:
                    node_of[id(tensor)].last_use = index
        held, freed = 0, {}
        for index, node in enumerate(self.nodes):
            size = node.output.bytes if node.output.held and node.last_use is not None else 0
            held += size
            freed[node.last_use] = freed.get(node.last_use, 0) + size
            node.costs["tempsize"] = float(held)
            held -= freed.get(index, 0)

    def totals(self):
        totals = {}
        for node in self.nodes:
            for name, cost in node.costs.items():
                if name != "tempsize":
                    totals[name] = totals.get(name, 0) + cost
        return totals


def attention(graph, model, layer, x, positions, mask):
    m = model
    q_dim, kv_dim = m.heads * m.head_dim, m.kv_heads * m.head_dim
    weight = lambda name, *shape: Tensor(f"blk.{layer}.{name}.weight", shape, m.weight_bits)
    q = graph.matmul(f"Qcur-{layer}", weight("attn_q", m.embedding, q_dim), x, (q_dim, 1))
    q = graph.add(q.name, "reshape(x)", (m.head_dim, m.heads), [q])
    q = graph.rope(q.name, q, positions)
    k = graph.matmul(f"Kcur-{layer}", weight("attn_k", m.embedding, kv_dim), x, (kv_dim, 1))
    k = graph.add(k.name, "reshape(x)", (m.head_dim, m.kv_heads), [k])
    k = graph.rope(k.name, k, positions)
    v = graph.matmul(f"Vcur-{layer}", weight("attn_v", m.embedding, kv_dim), x, (kv_dim, 1))

    def view(name, cache, *shape):
        return graph.add(name, "view(x)", shape, [cache], bits=F16, held=False)

    cache_k, cache_v = (
        Tensor(f"cache_{kind}_l{layer}", (m.context * kv_dim, 1), F16) for kind in "kv"
    )
    graph.store(k, view(f"k_cache_view-{layer}", cache_k, kv_dim, 1))
    v = graph.add(v.name, "transpose(x)", (1, kv_dim), [v])
    graph.store(v, view(f"v_cache_view-{layer}", cache_v, 1, kv_dim))
    v = view(f"v-{layer}", cache_v, m.kv_len, m.head_dim, m.kv_heads)
    k = view(f"k-{layer}", cache_k, m.head_dim, m.kv_len, m.kv_heads)
    q = graph.add(f"q-{layer}", "permute(x)", (m.head_dim, 1, m.heads), [q])
    kq = graph.matmul(f"kq-{layer}", k, q, (m.kv_len, 1, m.heads))
    kq = graph.softmax(f"kq_soft_max_ext-{layer}", kq, mask, m.heads)
    kqv = graph.matmul(f"kqv-{layer}", v, kq, (m.head_dim, 1, m.heads))
    merged = graph.add(f"kqv_merged-{layer}", "permute(x)", (m.head_dim, m.heads), [kqv])
    merged = graph.add(f"kqv_merged_cont-{layer}", "cont(x)", (q_dim, 1), [merged])
    out = weight("attn_output", q_dim, m.embedding)
    return graph.matmul(f"kqv_out-{layer}", out, merged, (m.embedding, 1))


def feed_forward(graph, model, layer, x):
    m = model
    weight = lambda name, *shape: Tensor(f"blk.{layer}.{name}.weight", shape, m.weight_bits)
    wide = (m.feed_forward, 1)
    gate = graph.matmul(f"ffn_gate-{layer}", weight("ffn_gate", m.embedding, wide[0]), x, wide)
    n = gate.elements
    costs = {"fadd": 2 * n, "fdiv": n, "fexp": n}
    silu = graph.add(f"ffn_silu-{layer}", "unary(x) (SILU?)", wide, [gate], costs)
    up = graph.matmul(f"ffn_up-{layer}", weight("ffn_up", m.embedding, wide[0]), x, wide)
    par = graph.add(f"ffn_gate_par-{layer}", "x*y (MUL)", wide, [silu, up], {"fmul": n})
    down = weight("ffn_down", wide[0], m.embedding)
    return graph.matmul(f"ffn_out-{layer}", down, par, (m.embedding, 1))


def build(model):
    m, graph = model, Graph()
    row = (m.embedding, 1)
    positions = Tensor("inp_pos", (1, 1))
    mask = Tensor("KQ_mask", (m.kv_len, 32))  # ggml pads the rows of a mask to 32.
    token_embedding = Tensor("token_embd.weight", (m.embedding, m.vocabulary), m.weight_bits)
    x = graph.rows("inp_embd", token_embedding, Tensor("inp_tokens", (1, 1)), row)
    for layer in range(m.layers):
        graph.layer = layer
        gain = lambda name: Tensor(f"blk.{layer}.{name}.weight", row)
        norm = graph.norm(f"norm-{layer}", x)
        norm = graph.scale(f"attn_norm-{layer}", norm, gain("attn_norm"))
        out = attention(graph, m, layer, norm, positions, mask)
        if layer == m.layers - 1:  # Only the last token's row goes on.
            ids = Tensor("inp_out_ids", (1, 1))
            out = graph.rows(f"node_{len(graph.nodes)}", out, ids, row)
            x = graph.rows(f"node_{len(graph.nodes)}", x, ids, row)
        x = graph.plus(f"ffn_inp-{layer}", out, x)
        norm = graph.norm(f"norm-{layer}", x)
        norm = graph.scale(f"ffn_norm-{layer}", norm, gain("ffn_norm"))
        x = graph.plus(f"l_out-{layer}", feed_forward(graph, m, layer, norm), x)
    x = graph.scale("result_norm", graph.norm("norm", x), Tensor("output_norm.weight", row))
    output = Tensor("output.weight", (m.embedding, m.vocabulary), m.output_bits)
    graph.matmul("result_output", output, x, (m.vocabulary, 1))
    graph.account()
    return graph


class Drawing:
    """Outputs still needed are lines from top to bottom, each in the leftmost column free."""

    def __init__(self, graph):
        self.graph = graph
        self.columns = []  # The node whose output runs there, or None.
        self.lines = []  # [line of columns, fill, text]

    def add(self, text, indent=0, mark=None, at=None):
        cells = ["|" if node else " " for node in self.columns]
        fill = [" "] * len(cells)
        if at is not None:
            cells[at] = mark
            fill[at:] = ["-"] * (len(cells) - at)
            # An output's line passes under others; an input's is drawn over them.
            cells[at + 1 :] = [
                "|" if mark == "<" and cell == "|" else "-" for cell in cells[at + 1 :]
            ]
        self.lines.append((cells, fill, at is not None, " " * indent + text))

    def draw(self):
        layer, column_of = None, {}
        for index, node in enumerate(self.graph.nodes):
            if node.layer != layer:
                layer = node.layer
                self.add("")
                self.add(f"== layer {layer} ==")
            self.add("")
            column = None
            if node.last_use is not None:
                if None not in self.columns:
                    self.columns.append(None)
                column = self.columns.index(None)
                self.columns[column] = node
                column_of[id(node.output)] = column
            self.add(f"{node.output.name}: {node.operation}", 0, "<", column)
            self.add(f"{node.output.bytes}, {list(node.output.shape)}", 2)
            self.add(f"costs: {node.costs}", 2)
            if node.last_use is None:
                self.add("not used by other computations", 2)
            for letter, tensor in zip("xy", node.inputs):
                column = column_of.get(id(tensor))
                self.add(f"{letter}: {tensor}", 2, ">", column)
                if column is not None and self.columns[column].last_use == index:
                    self.columns[column] = None
        width = len(self.columns)
        for cells, fill, to_edge, text in self.lines:
            line = "".join(cell + space for cell, space in zip(cells, fill))
            yield line + ("-" if to_edge else " ") * (2 * width - len(line)) + text


def listing(model):
    graph = build(model)
    peak = max(node.costs["tempsize"] for node in graph.nodes)
    yield f"Size of temporary storage is up to {int(peak)} bytes."
    yield "Total cost:"
    for name, total in graph.totals().items():
        gib = name in SHOWN_IN_GIB
        yield f"  {name}: {total / 2**30:.3f} GiB" if gib else f"  {name}: {total:g}"
    yield from Drawing(graph).draw()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("layers", "heads", "kv-heads", "head-dim", "feed-forward", "vocabulary"):
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--embedding", type=int, help="heads times head-dim if not given")
    parser.add_argument("--context", type=int, required=True, help="positions the cache holds")
    parser.add_argument("--kv-len", type=int, default=32, help="cached positions attended to")
    parser.add_argument("--weight-bits", type=float, default=4.5, help="of a matrix's element")
    parser.add_argument("--output-bits", type=float, default=6.5625, help="the last matrix's")
    model = parser.parse_args()
    model.embedding = model.embedding or model.heads * model.head_dim
    sys.stdout.writelines(line + "\n" for line in listing(model))


if __name__ == "__main__":
    main()
