// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/where_rows.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/masks/analysis/where_rows.cc"
#include <hwy/aligned_allocator.h>
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace splashmask {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

// Cells that are evaluated at once: values of an operation stay in the first-level cache.
constexpr int64_t kTile = 256;
constexpr int64_t kTileWords = kTile / 64;

// An operation of one value where Python fails has any value: nobody looks at it. Nothing traps.
int64_t WrapAdd(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
int64_t WrapSubtract(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b));
}
int64_t WrapMultiply(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
int64_t FloorQuotient(int64_t a, int64_t b) {
  if (b == 0 || b == -1) return WrapSubtract(0, a);
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
}

int64_t ValueOf(PredicateOp op, int64_t a, int64_t b) {
  switch (op) {
    case PredicateOp::kNegate:
      return WrapSubtract(0, a);
    case PredicateOp::kAbs:
      return a < 0 ? WrapSubtract(0, a) : a;
    case PredicateOp::kAdd:
      return WrapAdd(a, b);
    case PredicateOp::kSubtract:
      return WrapSubtract(a, b);
    case PredicateOp::kMultiply:
      return WrapMultiply(a, b);
    case PredicateOp::kFloorDivide:
      return FloorQuotient(a, b);
    case PredicateOp::kModulo:
      return WrapSubtract(a, WrapMultiply(FloorQuotient(a, b), b));
    case PredicateOp::kMin:
      return std::min(a, b);
    case PredicateOp::kMax:
      return std::max(a, b);
    case PredicateOp::kEqual:
      return a == b;
    case PredicateOp::kNotEqual:
      return a != b;
    case PredicateOp::kLess:
      return a < b;
    case PredicateOp::kLessEqual:
      return a <= b;
    case PredicateOp::kGreater:
      return a > b;
    case PredicateOp::kGreaterEqual:
      return a >= b;
    case PredicateOp::kNot:
      return 1 - a;
    case PredicateOp::kAnd:
      return a & b;
    default:
      return a | b;
  }
}

// An operand of a tile: one value for each cell, or the same for all of them.
template <typename T>
struct Operand {
  const T* values;  // nullptr: all are `value`.
  T value;
};

// Calls each(a, b, i) with vectors of both operands for every vector of the tile.
template <typename T, typename Each>
void ForEachVector(const Operand<T>& a, const Operand<T>& b, Each each) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto a_all = hn::Set(d, a.value), b_all = hn::Set(d, b.value);
  if (a.values == nullptr) {
    for (int64_t i = 0; i < kTile; i += lanes) each(a_all, hn::Load(d, b.values + i), i);
  } else if (b.values == nullptr) {
    for (int64_t i = 0; i < kTile; i += lanes) each(hn::Load(d, a.values + i), b_all, i);
  } else {
    for (int64_t i = 0; i < kTile; i += lanes) {
      each(hn::Load(d, a.values + i), hn::Load(d, b.values + i), i);
    }
  }
}

template <typename T, typename Op>
void Map(const Operand<T>& a, const Operand<T>& b, T* out, Op op) {
  const hn::ScalableTag<T> d;
  ForEachVector(a, b, [&](auto x, auto y, int64_t i) { hn::Store(op(x, y), d, out + i); });
}

// Bit i of `words` is test(a[i], b[i]).
template <typename T, typename Test>
void MapToBits(const Operand<T>& a, const Operand<T>& b, uint64_t* words, Test test) {
  const hn::ScalableTag<T> d;
  std::fill_n(words, kTileWords, 0);
  ForEachVector(a, b, [&](auto x, auto y, int64_t i) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(d, test(x, y), bytes);
    uint64_t bits = 0;
    std::memcpy(&bits, bytes, sizeof(bits));
    words[i / 64] |= bits << (i % 64);
  });
}

template <typename T>
void MapScalars(PredicateOp op, const Operand<T>& a, const Operand<T>& b, T* out) {
  for (int64_t i = 0; i < kTile; ++i) {
    out[i] = static_cast<T>(ValueOf(op, a.values == nullptr ? a.value : a.values[i],
                                    b.values == nullptr ? b.value : b.values[i]));
  }
}

// Quotients of int32 by way of doubles, which are exact: an integer quotient of two 32-bit numbers
// that is not exact is further from an integer than a double is rounded.
template <bool kIsRemainder>
void DivideNarrow(const Operand<int32_t>& a, const Operand<int32_t>& b, int32_t* out) {
  const hn::ScalableTag<int32_t> d;
  const hn::Half<decltype(d)> half;
  const hn::Rebind<double, decltype(half)> doubles;
  const auto floor_quotient = [&](auto x, auto y) {
    const auto quotient = hn::Div(hn::PromoteTo(doubles, x), hn::PromoteTo(doubles, y));
    return hn::DemoteTo(half, hn::Floor(quotient));
  };
  Map(a, b, out, [&](auto x, auto y) {
    const auto quotient =
        hn::Combine(d, floor_quotient(hn::UpperHalf(half, x), hn::UpperHalf(half, y)),
                    floor_quotient(hn::LowerHalf(half, x), hn::LowerHalf(half, y)));
    if constexpr (kIsRemainder) {
      return hn::Sub(x, hn::Mul(quotient, y));
    } else {
      return quotient;
    }
  });
}

// By a power of two, for values of either width.
template <typename T>
void DividePower(const Operand<T>& a, int shift, bool is_remainder, T* out) {
  const hn::ScalableTag<T> d;
  if (is_remainder) {
    const auto mask = hn::Set(d, static_cast<T>((T{1} << shift) - 1));
    Map(a, {nullptr, 0}, out, [&](auto x, auto) { return hn::And(x, mask); });
  } else if constexpr (sizeof(T) == 4) {
    Map(a, {nullptr, 0}, out, [&](auto x, auto) { return hn::ShiftRightSame(x, shift); });
  } else {
    for (int64_t i = 0; i < kTile; ++i) out[i] = a.values[i] >> shift;
  }
}

template <typename T>
void Divide(PredicateOp op, const Operand<T>& a, const Operand<T>& b, T* out) {
  const bool is_remainder = op == PredicateOp::kModulo;
  const bool is_power = b.values == nullptr && b.value > 0 && (b.value & (b.value - 1)) == 0;
  if (is_power) {
    const int shift = std::countr_zero(static_cast<uint64_t>(b.value));
    DividePower(a, shift, is_remainder, out);
  } else if constexpr (sizeof(T) == 4) {
    if (is_remainder) {
      DivideNarrow<true>(a, b, out);
    } else {
      DivideNarrow<false>(a, b, out);
    }
  } else {
    MapScalars(op, a, b, out);
  }
}

// Integers of a tile; operations on int64 that vectors lack are done one by one.
template <typename T>
void EvaluateIntegers(PredicateOp op, const Operand<T>& a, const Operand<T>& b, T* out) {
  switch (op) {
    case PredicateOp::kNegate:
      return Map(a, b, out, [](auto x, auto) { return hn::Neg(x); });
    case PredicateOp::kAbs:
      return Map(a, b, out, [](auto x, auto) { return hn::Max(x, hn::Neg(x)); });
    case PredicateOp::kAdd:
      return Map(a, b, out, [](auto x, auto y) { return hn::Add(x, y); });
    case PredicateOp::kSubtract:
      return Map(a, b, out, [](auto x, auto y) { return hn::Sub(x, y); });
    case PredicateOp::kMultiply:
      if constexpr (sizeof(T) == 4) {
        return Map(a, b, out, [](auto x, auto y) { return hn::Mul(x, y); });
      } else {
        return MapScalars(op, a, b, out);
      }
    case PredicateOp::kMin:
      return Map(a, b, out, [](auto x, auto y) { return hn::Min(x, y); });
    case PredicateOp::kMax:
      return Map(a, b, out, [](auto x, auto y) { return hn::Max(x, y); });
    default:
      return Divide(op, a, b, out);
  }
}

template <typename T>
void EvaluateComparison(PredicateOp op, const Operand<T>& a, const Operand<T>& b, uint64_t* out) {
  switch (op) {
    case PredicateOp::kEqual:
      return MapToBits(a, b, out, [](auto x, auto y) { return hn::Eq(x, y); });
    case PredicateOp::kNotEqual:
      return MapToBits(a, b, out, [](auto x, auto y) { return hn::Ne(x, y); });
    case PredicateOp::kLess:
      return MapToBits(a, b, out, [](auto x, auto y) { return hn::Lt(x, y); });
    case PredicateOp::kLessEqual:
      return MapToBits(a, b, out, [](auto x, auto y) { return hn::Not(hn::Gt(x, y)); });
    case PredicateOp::kGreater:
      return MapToBits(a, b, out, [](auto x, auto y) { return hn::Gt(x, y); });
    default:
      return MapToBits(a, b, out, [](auto x, auto y) { return hn::Not(hn::Lt(x, y)); });
  }
}

// Evaluates a program tile by tile: what depends on kv alone once for all rows, what depends on q
// alone once a row.
template <typename T>
class TileEvaluator {
 public:
  explicit TileEvaluator(std::span<const ProgramNode> nodes)
      : nodes_(nodes), scalars_(nodes.size()), slots_(nodes.size()) {
    int32_t integers = 0, conditions = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (nodes[i].has_kv) slots_[i] = IsCondition(nodes[i].op) ? conditions++ : integers++;
    }
    values_ = hwy::AllocateAligned<T>(static_cast<size_t>((integers + 1) * kTile));
    words_ = hwy::AllocateAligned<uint64_t>(static_cast<size_t>((conditions + 1) * kTileWords));
  }

  // kTile columns at positions first, first + step, ...
  void StartTile(int64_t first, int64_t step) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].op == PredicateOp::kKv) {
        int64_t kv = first;
        for (int64_t c = 0; c < kTile; ++c, kv = WrapAdd(kv, step)) {
          Values(i)[c] = static_cast<T>(kv);
        }
      } else if (nodes_[i].has_kv && !nodes_[i].has_q) {
        EvaluateTile(i);
      }
    }
  }

  // The words of the row at position `q`.
  const uint64_t* EvaluateRow(int64_t q) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const ProgramNode& node = nodes_[i];
      if (!node.has_q) continue;
      if (node.has_kv) {
        EvaluateTile(i);
      } else {
        scalars_[i] = node.op == PredicateOp::kQ ? q : ScalarOf(node);
      }
    }
    const size_t last = nodes_.size() - 1;
    return nodes_[last].has_kv ? Words(last) : Spread(scalars_[last]);
  }

  // What does not depend on q, before the first tile.
  void StartConstants() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const ProgramNode& node = nodes_[i];
      if (node.has_kv || node.has_q) continue;
      scalars_[i] = node.op == PredicateOp::kConstant ? node.constant : ScalarOf(node);
    }
  }

 private:
  T* Values(size_t node) { return values_.get() + slots_[node] * kTile; }
  uint64_t* Words(size_t node) { return words_.get() + slots_[node] * kTileWords; }
  const uint64_t* Spread(int64_t truth) {
    std::fill_n(words_.get(), kTileWords, truth != 0 ? ~uint64_t{0} : 0);
    return words_.get();
  }

  int64_t ScalarOf(const ProgramNode& node) const {
    return ValueOf(node.op, scalars_[node.left], node.right < 0 ? 0 : scalars_[node.right]);
  }

  Operand<T> OperandOf(int32_t node) {
    if (node < 0) return {nullptr, 0};
    if (nodes_[node].has_kv) return {Values(static_cast<size_t>(node)), 0};
    return {nullptr, static_cast<T>(scalars_[node])};
  }

  uint64_t WordOf(int32_t node, int64_t word) {
    if (nodes_[node].has_kv) return Words(static_cast<size_t>(node))[word];
    return scalars_[node] != 0 ? ~uint64_t{0} : 0;
  }

  void EvaluateTile(size_t index) {
    const ProgramNode& node = nodes_[index];
    if (IsComparison(node.op)) {
      EvaluateComparison(node.op, OperandOf(node.left), OperandOf(node.right), Words(index));
    } else if (IsCondition(node.op)) {
      uint64_t* words = Words(index);
      for (int64_t w = 0; w < kTileWords; ++w) {
        const uint64_t left = WordOf(node.left, w);
        words[w] = node.op == PredicateOp::kNot   ? ~left
                   : node.op == PredicateOp::kAnd ? left & WordOf(node.right, w)
                                                  : left | WordOf(node.right, w);
      }
    } else {
      EvaluateIntegers(node.op, OperandOf(node.left), OperandOf(node.right), Values(index));
    }
  }

  std::span<const ProgramNode> nodes_;
  std::vector<int64_t> scalars_;  // Of nodes that do not depend on kv; conditions are 0 or 1.
  std::vector<int32_t> slots_;    // Of nodes that do: where their values or words are.
  hwy::AlignedFreeUniquePtr<T[]> values_;
  hwy::AlignedFreeUniquePtr<uint64_t[]> words_;
};

template <typename T>
void Draw(std::span<const ProgramNode> nodes, std::span<const int64_t> q, const Rows& columns,
          BitRows out) {
  TileEvaluator<T> evaluator(nodes);
  evaluator.StartConstants();
  for (int64_t begin = 0; begin < columns.count; begin += kTile) {
    evaluator.StartTile(columns.first + begin * columns.step, columns.step);
    const int64_t cells = std::min(kTile, columns.count - begin);
    for (size_t r = 0; r < q.size(); ++r) {
      uint64_t* row = out.row(static_cast<int64_t>(r)) + begin / 64;
      std::copy_n(evaluator.EvaluateRow(q[r]), WordsFor(cells), row);
      if (cells % 64 != 0) row[cells / 64] &= (uint64_t{1} << (cells % 64)) - 1;
    }
  }
}

}  // namespace

void DrawTiles(std::span<const ProgramNode> nodes, bool is_narrow, std::span<const int64_t> q,
               const Rows& columns, BitRows out) {
  if (is_narrow) {
    Draw<int32_t>(nodes, q, columns, out);
  } else {
    Draw<int64_t>(nodes, q, columns, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace splashmask
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask {

HWY_EXPORT(DrawTiles);

void DrawPredicate(const PredicateProgram& program, bool is_narrow, std::span<const int64_t> q,
                   const Rows& columns, BitRows out) {
  HWY_DYNAMIC_DISPATCH(DrawTiles)(program.nodes(), is_narrow, q, columns, out);
}

}  // namespace splashmask
#endif  // HWY_ONCE
