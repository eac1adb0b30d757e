// SPDX-License-Identifier: Apache-2.0
// Every operation in turn, as written, for 64 cells. Masks hold no predicate that fails in a cell;
// what `and` and `or` leave alone may, and gives any value there.

#include "splashmask/planner/certify/predicate_leaf.h"

#include <algorithm>
#include <array>
#include <vector>

namespace splashmask::certify {

namespace {

constexpr int64_t kCells = 64;
using Values = std::array<int64_t, kCells>;

// Unsigned, so that nothing overflows.
using Bits = uint64_t;

int64_t FloorDivide(int64_t a, int64_t b) {
  if (b == 0) return 0;
  if (b == -1) return static_cast<int64_t>(-static_cast<Bits>(a));
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

int64_t Times(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<Bits>(a) * static_cast<Bits>(b));
}

template <typename Op>
void Apply(const Values& a, const Values& b, Values* out, Op op) {
  for (size_t i = 0; i < kCells; ++i) (*out)[i] = op(a[i], b[i]);
}

class PredicateLeaf final : public Leaf {
 public:
  PredicateLeaf(const Predicate& predicate, Shape shape) : predicate_(predicate), shape_(shape) {}

  void Fill(int64_t position, int64_t kv_begin, int64_t count, uint64_t* out) const override {
    const std::span<const PredicateNode> nodes = predicate_.nodes();
    std::vector<Values> values(nodes.size());
    for (int64_t word = 0; word < WordsFor(count); ++word) {
      for (size_t i = 0; i < nodes.size(); ++i) {
        Evaluate(nodes[i], position, kv_begin + word * kCells, values, &values[i]);
      }
      out[word] = 0;
      for (size_t i = 0; i < kCells; ++i) {
        out[word] |= static_cast<uint64_t>(values.back()[i] != 0) << i;
      }
    }
  }

 private:
  void Evaluate(const PredicateNode& node, int64_t q, int64_t kv, const std::vector<Values>& values,
                Values* out) const {
    const Values& a = node.left < 0 ? *out : values[static_cast<size_t>(node.left)];
    const Values& b = node.right < 0 ? a : values[static_cast<size_t>(node.right)];
    switch (node.op) {
      case PredicateOp::kConstant:
        return out->fill(node.constant);
      case PredicateOp::kQ:
        return out->fill(q);
      case PredicateOp::kKv:
        for (size_t i = 0; i < kCells; ++i) (*out)[i] = kv + static_cast<int64_t>(i);
        return;
      case PredicateOp::kQLen:
        return out->fill(shape_.q_len);
      case PredicateOp::kKvLen:
        return out->fill(shape_.kv_len);
      case PredicateOp::kNegate:
        return Apply(a, b, out, [](int64_t x, int64_t) { return Times(x, -1); });
      case PredicateOp::kAbs:
        return Apply(a, b, out, [](int64_t x, int64_t) { return x < 0 ? Times(x, -1) : x; });
      case PredicateOp::kAdd:
        return Apply(a, b, out, [](int64_t x, int64_t y) {
          return static_cast<int64_t>(static_cast<Bits>(x) + static_cast<Bits>(y));
        });
      case PredicateOp::kSubtract:
        return Apply(a, b, out, [](int64_t x, int64_t y) {
          return static_cast<int64_t>(static_cast<Bits>(x) - static_cast<Bits>(y));
        });
      case PredicateOp::kMultiply:
        return Apply(a, b, out, Times);
      case PredicateOp::kFloorDivide:
        return Apply(a, b, out, FloorDivide);
      case PredicateOp::kModulo:
        return Apply(a, b, out, [](int64_t x, int64_t y) {
          const auto multiple = static_cast<Bits>(Times(FloorDivide(x, y), y));
          return static_cast<int64_t>(static_cast<Bits>(x) - multiple);
        });
      case PredicateOp::kMin:
        return Apply(a, b, out, [](int64_t x, int64_t y) { return std::min(x, y); });
      case PredicateOp::kMax:
        return Apply(a, b, out, [](int64_t x, int64_t y) { return std::max(x, y); });
      case PredicateOp::kEqual:
        return Apply(a, b, out, [](int64_t x, int64_t y) -> int64_t { return x == y; });
      case PredicateOp::kNotEqual:
        return Apply(a, b, out, [](int64_t x, int64_t y) -> int64_t { return x != y; });
      case PredicateOp::kLess:
        return Apply(a, b, out, [](int64_t x, int64_t y) -> int64_t { return x < y; });
      case PredicateOp::kLessEqual:
        return Apply(a, b, out, [](int64_t x, int64_t y) -> int64_t { return x <= y; });
      case PredicateOp::kGreater:
        return Apply(a, b, out, [](int64_t x, int64_t y) -> int64_t { return x > y; });
      case PredicateOp::kGreaterEqual:
        return Apply(a, b, out, [](int64_t x, int64_t y) -> int64_t { return x >= y; });
      case PredicateOp::kNot:
        return Apply(a, b, out, [](int64_t x, int64_t) -> int64_t { return x == 0; });
      case PredicateOp::kAnd:
        return Apply(a, b, out, [](int64_t x, int64_t y) { return x & y; });
      case PredicateOp::kOr:
        return Apply(a, b, out, [](int64_t x, int64_t y) { return x | y; });
    }
  }

  Predicate predicate_;
  Shape shape_;
};

}  // namespace

std::unique_ptr<Leaf> MakePredicateLeaf(const Predicate& predicate, Shape shape) {
  return std::make_unique<PredicateLeaf>(predicate, shape);
}

}  // namespace splashmask::certify
