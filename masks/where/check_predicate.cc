// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/check_predicate.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/interruption.h"
#include "splashmask/masks/where/find_failure.h"

namespace splashmask {

namespace {

[[noreturn]] void Fail(const std::string& what, const std::string& where) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("[where] expected a predicate that holds or not in every cell, but {} at {}",
                  what, where));
}

// The positions of one axis, in order.
class AxisPositions {
 public:
  AxisPositions(const std::optional<Array>& positions, int64_t length)
      : positions_(positions), length_(length) {
    if (!positions_) return;
    hull_ = {positions_->At(0), positions_->At(0)};
    ForEach([this](int64_t position) {
      hull_.first = std::min(hull_.first, position);
      hull_.last = std::max(hull_.last, position);
    });
  }

  int64_t At(int64_t index) const { return positions_ ? positions_->At(index) : index; }
  /// Calls visit(position) for each index, in order.
  template <typename Visit>
  void ForEach(Visit&& visit) const {
    if (positions_) {
      positions_->ForEach([&](int64_t, int64_t position) { visit(position); });
    } else {
      for (int64_t i = 0; i < length_; ++i) visit(i);
    }
  }
  int64_t length() const { return length_; }
  bool is_reordered() const { return positions_.has_value(); }
  /// Whether they may well be most of what lies between the least and the greatest.
  bool is_dense() const {
    constexpr int64_t kMostGaps = 4;
    return hull().last / kMostGaps - hull().first / kMostGaps <= length_;
  }
  /// Includes them all.
  PositionRange hull() const { return is_reordered() ? hull_ : PositionRange{0, length_ - 1}; }
  bool is_within(int64_t length) const { return hull().first >= 0 && hull().last < length; }

 private:
  std::optional<Array> positions_;
  int64_t length_;
  PositionRange hull_;
};

void CheckAt(const Predicate& predicate, Shape shape, const AxisPositions& q,
             const AxisPositions& kv) {
  const PredicateProgram program(predicate, shape);
  std::vector<ValueRange> ranges(static_cast<size_t>(program.size()));
  const auto may_fail = [&](PositionRange rows, PositionRange columns) {
    FindRanges(program, rows, columns, ranges);
    return ranges.back().may_fail;
  };
  if (!may_fail(q.hull(), kv.hull())) return;
  for (int64_t row = 0; row < q.length(); ++row) {
    const PositionRange at{q.At(row), q.At(row)};
    if (!may_fail(at, kv.hull())) continue;
    InterruptionCheck::Run();
    std::optional<PredicateFailure> failure;
    int64_t column = 0;
    if (kv.is_dense()) {
      // Of all positions that columns may have, which they mostly do.
      failure = FindFailure(program, at, kv.hull());
      if (!failure) continue;
      if (!kv.is_reordered()) column = failure->kv;
    }
    if (kv.is_reordered()) {
      failure.reset();
      while (column < kv.length() && !may_fail(at, {kv.At(column), kv.At(column)})) ++column;
      if (column == kv.length()) continue;
      failure = FindFailure(program, at, {kv.At(column), kv.At(column)});
    }
    Fail(Describe(predicate, program, *failure),
         fmt::format("row {}, column {} of the reordering, where (q, kv) = ({}, {})", row, column,
                     failure->q, failure->kv));
  }
}

// Recursion is bounded by kMaxMaskDepth.
void CheckAll(const Mask& mask, const AxisPositions& q, const AxisPositions& kv) {
  if (!mask.node().has_predicate) return;
  const Shape shape = mask.shape();
  const auto compose = [](const node::Order& inner, const AxisPositions& outer) {
    const std::vector<int64_t> all = inner.positions.ToInt64();
    std::vector<int64_t> positions;
    outer.ForEach([&](int64_t position) { positions.push_back(all[position]); });
    return AxisPositions(Array::FromVector(positions), outer.length());
  };
  std::visit(Overloaded{
                 [&](const node::Where& n) { CheckAt(n.predicate, shape, q, kv); },
                 [&](const node::Reorder& n) {
                   CheckAll(n.mask, n.q ? compose(*n.q, q) : q, n.kv ? compose(*n.kv, kv) : kv);
                 },
                 [&](const node::Not& n) { CheckAll(n.mask, q, kv); },
                 [&](const node::Binary& n) {
                   CheckAll(n.left, q, kv);
                   CheckAll(n.right, q, kv);
                 },
                 [](const auto&) {},
             },
             mask.node().expr);
}

}  // namespace

void CheckPredicate(const Predicate& predicate, Shape shape) {
  const PredicateProgram program(predicate, shape);
  const auto failure = FindFailure(program, {0, shape.q_len - 1}, {0, shape.kv_len - 1});
  if (!failure) return;
  Fail(Describe(predicate, program, *failure),
       fmt::format("(q, kv) = ({}, {})", failure->q, failure->kv));
}

void CheckPredicates(const Mask& mask, const std::optional<node::Order>& q,
                     const std::optional<node::Order>& kv) {
  const Shape shape = mask.shape();
  const auto positions = [](const std::optional<node::Order>& order) {
    return order ? std::optional(order->positions) : std::nullopt;
  };
  const AxisPositions rows(positions(q), shape.q_len), columns(positions(kv), shape.kv_len);
  // Cells that the mask itself has are sound already.
  if (rows.is_within(shape.q_len) && columns.is_within(shape.kv_len)) return;
  CheckAll(mask, rows, columns);
}

}  // namespace splashmask
