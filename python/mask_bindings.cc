// SPDX-License-Identifier: Apache-2.0
// _core.Expr: the mask expression, its factories, its parts, its cells.

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/operators.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/explain.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/simplify.h"
#include "splashmask/masks/where/program.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/compile/diff_masks.h"
#include "splashmask/planner/memory.h"
#include "splashmask/python/interruptible.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/numpy.h"
#include "splashmask/python/python_function.h"

namespace splashmask::python {

namespace {

using ArraysByName = std::map<std::string, nb::object>;

Shape ToShape(const Pair& pair) { return {pair.first, pair.second}; }

// An array of positions, ("zigzag", n) or ("striped", n).
std::optional<Positions> ToPositions(const nb::handle& order, const char* name) {
  if (order.is_none()) return std::nullopt;
  if (!nb::isinstance<nb::tuple>(order)) return Positions::FromArray(ToArray(order, name));
  const auto [layout, n] = nb::cast<std::pair<std::string, int64_t>>(order);
  return layout == "zigzag" ? Positions::Zigzag(n) : Positions::Striped(n);
}

// Finds arrays that the caller has given a name.
class NamedArrays {
 public:
  explicit NamedArrays(const ArraysByName& arrays) {
    for (const auto& [name, array] : arrays) {
      arrays_.emplace(name, ToArray(array, fmt::format("\"{}\"", name)).WithName(name));
    }
  }

  Array operator()(const std::string& name) const {
    if (const auto found = arrays_.find(name); found != arrays_.end()) return found->second;
    std::string known;
    for (const auto& [key, array] : arrays_) known += (known.empty() ? "" : ", ") + key;
    throw Error(ErrorCode::kNotFound, fmt::format("[python] expected an array named \"{}\", got {}",
                                                  name, known.empty() ? "none" : known));
  }

 private:
  std::map<std::string, Array> arrays_;
};

std::vector<std::unique_ptr<MaskObject>> ToObjects(const std::vector<Mask>& masks) {
  std::vector<std::unique_ptr<MaskObject>> objects;
  for (const Mask& mask : masks) objects.push_back(std::make_unique<MaskObject>(mask));
  return objects;
}

std::vector<std::unique_ptr<MaskObject>> Parse(const std::string& text, const Pair& shape,
                                               int64_t num_heads, const ArraysByName& arrays) {
  const NamedArrays resolve(arrays);
  return RunInterruptibly([&](const Progress&) {
    return ToObjects(
        ParseMultiHeadMask(text, ToShape(shape), num_heads, std::cref(resolve)).masks());
  });
}

// The operations that a predicate needs on its shape: (name, left, right, constant), each after its
// operands.
nb::list Program(const MaskObject& object) {
  constexpr const char* kNames[] = {
      "constant", "q",   "kv", "q_len", "kv_len", "-x", "abs", "+",  "-",   "*",   "//", "%",
      "min",      "max", "==", "!=",    "<",      "<=", ">",   ">=", "not", "and", "or"};
  nb::list operations;
  const auto& where = std::get<node::Where>(object.mask().node().expr);
  const PredicateProgram program(where.predicate, object.mask().shape());
  for (const ProgramNode& node : program.nodes()) {
    operations.append(
        nb::make_tuple(kNames[static_cast<size_t>(node.op)], node.left, node.right, node.constant));
  }
  return operations;
}

// (kind, parameters): what a node is, under the names of the text form. Parts of it that are masks
// are Exprs.
nb::tuple Describe(const MaskObject& object) {
  nb::dict p;
  const auto optional = [](const std::optional<int64_t>& value) {
    return value ? nb::object(nb::int_(*value)) : nb::none();
  };
  const auto part = [](const Mask& mask) { return std::make_unique<MaskObject>(mask); };
  const auto describe = Overloaded{
      [&](const node::Full&) { return "full"; },
      [&](const node::Empty&) { return "empty"; },
      [&](const node::Causal& node) {
        p["offset"] = node.offset;
        return "causal";
      },
      [&](const node::Local& node) {
        p["left"] = optional(node.left);
        p["right"] = optional(node.right);
        p["offset"] = node.offset;
        return "local";
      },
      [&](const node::ChunkedCausal& node) {
        p["chunk"] = node.chunk;
        return "chunked_causal";
      },
      [&](const node::Prefix& node) {
        p["n"] = node.n;
        return "prefix";
      },
      [&](const node::QRange& node) {
        p["a"] = node.begin;
        p["b"] = node.end;
        return "q_range";
      },
      [&](const node::KvRange& node) {
        p["a"] = node.begin;
        p["b"] = node.end;
        return "kv_range";
      },
      [&](const node::Stride& node) {
        p["step"] = node.step;
        p["phase"] = node.phase;
        return "stride";
      },
      [&](const node::Documents& node) {
        p["lengths"] = nb::cast(node.lengths);
        return "documents";
      },
      [&](const node::Segments& node) {
        p["q"] = ToNumpy(node.q_ids);
        p["kv"] = ToNumpy(node.kv_ids);
        p["pad"] = optional(node.pad);
        return "segments";
      },
      [&](const node::Blocks& node) {
        p["bits"] = ToNumpy(node.bits);
        p["block"] = node.block;
        return "blocks";
      },
      [&](const node::Dense& node) {
        p["array"] = ToNumpy(node.array);
        return "dense";
      },
      [&](const node::Where& node) {
        p["predicate"] = node.predicate.text();
        return "where";
      },
      [&](const node::Custom& node) {
        const auto* python = dynamic_cast<const PythonFunction*>(node.function.get());
        p["function"] = python == nullptr ? nb::none() : python->function();
        p["computable"] = node.function->computable();
        return "custom";
      },
      [&](const node::Reorder& node) {
        p["mask"] = part(node.mask);
        p["q"] = node.q ? ToNumpy(node.q->positions) : nb::none();
        p["kv"] = node.kv ? ToNumpy(node.kv->positions) : nb::none();
        return "reorder";
      },
      [&](const node::Not& node) {
        p["mask"] = part(node.mask);
        return "not";
      },
      [&](const node::Binary& node) {
        p["left"] = part(node.left);
        p["right"] = part(node.right);
        constexpr const char* kNames[] = {"and", "or", "xor", "sub"};
        return kNames[static_cast<size_t>(node.op)];
      },
  };
  const char* kind = std::visit(describe, object.mask().node().expr);
  return nb::make_tuple(kind, p);
}

nb::object Cells(const MaskObject& object, const Pair& q, const Pair& kv) {
  std::shared_ptr<std::byte> bools;
  {
    nb::gil_scoped_release released;
    bools = AllocateBytes(std::max<int64_t>(0, q.second - q.first) *
                          std::max<int64_t>(0, kv.second - kv.first));
    object.cells().Read(q.first, q.second, kv.first, kv.second, bools.get());
  }
  return ToNumpy(bools.get(), {q.second - q.first, kv.second - kv.first}, DType::kBool, bools);
}

// Integer arrays are copies (masks.py); bools are the caller's own memory.
bool MayChange(const Mask& mask) {
  return std::visit(
      Overloaded{
          [](const node::Blocks&) { return true; },
          [](const node::Dense&) { return true; },
          [](const node::Custom& n) {
            const auto* python = dynamic_cast<const PythonFunction*>(n.function.get());
            return python == nullptr || !python->is_value();
          },
          [](const node::Reorder& n) { return MayChange(n.mask); },
          [](const node::Not& n) { return MayChange(n.mask); },
          [](const node::Binary& n) { return MayChange(n.left) || MayChange(n.right); },
          [](const auto&) { return false; },
      },
      mask.node().expr);
}

// Canonical text and the arrays that it names: what Parse makes the same expression of.
nb::tuple State(const MaskObject& object) {
  nb::dict arrays;
  ForEachArray(object.mask(),
               [&](const Array& array) { arrays[array.Digest().c_str()] = ToNumpy(array); });
  return nb::make_tuple(CanonicalText(object.mask()), arrays);
}

std::vector<int64_t> CountOfHeads(const std::vector<const MaskObject*>& heads, const Pair& q,
                                  const Pair& kv, int threads) {
  const MultiHeadMask mask = ToMultiHeadMask(heads);
  const PairRectangle where{q.first, q.second, kv.first, kv.second};
  return RunInterruptibly(
      [&](const Progress& progress) { return CountPairs(mask, where, threads, progress); });
}

nb::object CountOfRows(const MaskObject& mask, const Pair& q, const Pair& kv, int threads) {
  const PairRectangle where{q.first, q.second, kv.first, kv.second};
  auto counts =
      std::make_shared<std::vector<int64_t>>(RunInterruptibly([&](const Progress& progress) {
        return CountPairsOfRows(mask.mask(), where, threads, progress);
      }));
  const auto* const bytes = reinterpret_cast<const std::byte*>(counts->data());
  const auto size = static_cast<int64_t>(counts->size());
  return ToNumpy(bytes, {size}, DType::kInt64, std::move(counts));
}

// (cells, first pair or None) of each head; a pair is (q, kv, a, b).
nb::list Diff(const std::vector<const MaskObject*>& a, const std::vector<const MaskObject*>& b,
              int threads) {
  const MultiHeadMask in_a = ToMultiHeadMask(a), in_b = ToMultiHeadMask(b);
  const std::vector<MaskDifference> differences = RunInterruptibly(
      [&](const Progress& progress) { return DiffMasks(in_a, in_b, threads, progress); });
  nb::list result;
  for (const MaskDifference& difference : differences) {
    nb::object first = nb::none();
    if (const auto& pair = difference.first) {
      first = nb::make_tuple(pair->q, pair->kv, pair->a, pair->b);
    }
    result.append(nb::make_tuple(difference.cells, first));
  }
  return result;
}

// (parts, text); a part is (depth, part, q, kv, value, decides, reason).
nb::tuple ExplainPair(const std::vector<const MaskObject*>& heads, std::optional<int64_t> head,
                      int64_t q, int64_t kv) {
  const MultiHeadMask mask = ToMultiHeadMask(heads);
  Explanation explanation;
  std::string text;
  {
    const nb::gil_scoped_release released;
    explanation = head ? Explain(mask, *head, q, kv) : Explain(mask.masks().front(), q, kv);
    text = ToString(explanation);
  }
  nb::list parts;
  for (const ExplainedPart& part : explanation.parts) {
    parts.append(nb::make_tuple(part.depth, PartName(part), part.q, part.kv, part.value,
                                part.decides, part.reason));
  }
  return nb::make_tuple(parts, text);
}

}  // namespace

MultiHeadMask ToMultiHeadMask(const std::vector<const MaskObject*>& heads) {
  std::vector<Mask> masks;
  masks.reserve(heads.size());
  for (const MaskObject* head : heads) masks.push_back(head->mask());
  return MultiHeadMask(std::move(masks));
}

void BindMask(nb::module_& m) {
  const auto make = [](Mask mask) { return std::make_unique<MaskObject>(std::move(mask)); };
  using Object = const MaskObject&;

  nb::class_<MaskObject>(m, "Expr", "An immutable mask expression of shape (q_len, kv_len).")
      .def_static("full", [=](const Pair& shape) { return make(Mask::Full(ToShape(shape))); })
      .def_static("empty", [=](const Pair& shape) { return make(Mask::Empty(ToShape(shape))); })
      .def_static("causal",
                  [=](const Pair& shape, int64_t offset) {
                    return make(Mask::Causal(ToShape(shape), offset));
                  })
      .def_static(
          "local",
          [=](const Pair& shape, std::optional<int64_t> left, std::optional<int64_t> right,
              int64_t offset) { return make(Mask::Local(ToShape(shape), left, right, offset)); },
          nb::arg("shape"), nb::arg("left").none(), nb::arg("right").none(), nb::arg("offset"))
      .def_static("chunked_causal",
                  [=](const Pair& shape, int64_t chunk) {
                    return make(Mask::ChunkedCausal(ToShape(shape), chunk));
                  })
      .def_static("prefix", [=](const Pair& shape,
                                int64_t n) { return make(Mask::Prefix(ToShape(shape), n)); })
      .def_static("q_range", [=](const Pair& shape, int64_t a,
                                 int64_t b) { return make(Mask::QRange(ToShape(shape), a, b)); })
      .def_static("kv_range", [=](const Pair& shape, int64_t a,
                                  int64_t b) { return make(Mask::KvRange(ToShape(shape), a, b)); })
      .def_static("stride",
                  [=](const Pair& shape, int64_t step, int64_t phase) {
                    return make(Mask::Stride(ToShape(shape), step, phase));
                  })
      .def_static("documents",
                  [=](const Pair& shape, std::vector<int64_t> lengths) {
                    return make(Mask::Documents(ToShape(shape), std::move(lengths)));
                  })
      .def_static(
          "segments",
          [=](const Pair& shape, nb::handle q, nb::handle kv, std::optional<int64_t> pad) {
            return make(
                Mask::Segments(ToShape(shape), ToArray(q, "q ids"), ToArray(kv, "kv ids"), pad));
          },
          nb::arg("shape"), nb::arg("q"), nb::arg("kv"), nb::arg("pad").none())
      .def_static("blocks",
                  [=](const Pair& shape, nb::handle bits, int64_t block) {
                    return make(Mask::Blocks(ToShape(shape), ToArray(bits, "bits"), block));
                  })
      .def_static("dense",
                  [=](const Pair& shape, nb::handle array) {
                    return make(Mask::Dense(ToShape(shape), ToArray(array, "array")));
                  })
      .def_static("where",
                  [=](const Pair& shape, const std::string& predicate) {
                    return RunInterruptibly([&](const Progress&) {
                      return make(Mask::Where(ToShape(shape), predicate));
                    });
                  })
      .def_static(
          "custom",
          [=](const Pair& shape, nb::object function, nb::object evaluate, nb::object classify,
              nb::object key, std::string name, bool computable, bool is_value) {
            return make(Mask::Custom(
                ToShape(shape), std::make_shared<PythonFunction>(
                                    std::move(function), std::move(evaluate), std::move(classify),
                                    std::move(key), std::move(name), computable, is_value)));
          },
          nb::arg("shape"), nb::arg("function"), nb::arg("evaluate"), nb::arg("classify").none(),
          nb::arg("key"), nb::arg("name"), nb::arg("computable"), nb::arg("is_value"))
      .def(
          "reorder",
          [=](Object a, nb::handle q, nb::handle kv) {
            const auto rows = ToPositions(q, "q_sequence"),
                       columns = ToPositions(kv, "kv positions");
            return RunInterruptibly(
                [&](const Progress&) { return make(a.mask().Reorder(rows, columns)); });
          },
          nb::arg("q").none(), nb::arg("kv").none())
      .def("simplify",
           [=](Object a) {
             const auto simplified = [&] {
               const nb::gil_scoped_release released;
               return Simplify(a.mask());
             };
             return make(simplified());
           })
      .def("__invert__", [=](Object a) { return make(~a.mask()); })
      .def("__and__", [=](Object a, Object b) { return make(a.mask() & b.mask()); })
      .def("__or__", [=](Object a, Object b) { return make(a.mask() | b.mask()); })
      .def("__xor__", [=](Object a, Object b) { return make(a.mask() ^ b.mask()); })
      .def("__sub__", [=](Object a, Object b) { return make(a.mask() - b.mask()); })
      .def("__eq__", [](Object a, Object b) { return a.mask() == b.mask(); })
      .def("__hash__", [](Object a) { return static_cast<int64_t>(a.mask().Hash() >> 1); })
      .def("__str__", [](Object a) { return ToString(a.mask()); })
      .def_prop_ro("shape",
                   [](Object a) { return Pair(a.mask().shape().q_len, a.mask().shape().kv_len); })
      .def_prop_ro(
          "may_change", [](Object a) { return MayChange(a.mask()); },
          "Whether cells live in something that somebody else may change.")
      .def("describe", &Describe, "(kind, parameters) of the outermost node.")
      .def("program", &Program, "Of a predicate: (name, left, right, constant) of each operation.")
      .def("cells", &Cells, nb::arg("q"), nb::arg("kv"),
           "bool[q1 - q0, kv1 - kv0]: the cells of the half-open ranges q and kv.")
      .def("state", &State, "(canonical text, arrays by name), for parse.");

  m.def("parse", &Parse, nb::arg("text"), nb::arg("shape"), nb::arg("num_heads"), nb::arg("arrays"),
        "The masks of the heads of a text form.");
  m.def("count_pairs", &CountOfHeads, nb::arg("heads"), nb::arg("q"), nb::arg("kv"),
        nb::arg("threads"), "Pairs of each head in half-open ranges.");
  m.def("count_rows", &CountOfRows, nb::arg("mask"), nb::arg("q"), nb::arg("kv"),
        nb::arg("threads"), "int64: those of each row.");
  m.def("diff_masks", &Diff, nb::arg("a"), nb::arg("b"), nb::arg("threads"),
        "(cells that differ, (q, kv, a, b) of the first or None) of each head.");
  m.def("explain", &ExplainPair, nb::arg("heads"), nb::arg("head").none(), nb::arg("q"),
        nb::arg("kv"), "(parts, text); a part is (depth, part, q, kv, value, decides, reason).");
  m.def(
      "mask_text",
      [](const std::vector<const MaskObject*>& heads) { return ToString(ToMultiHeadMask(heads)); },
      "The text form of one mask a head.");
}

}  // namespace splashmask::python
