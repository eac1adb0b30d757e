// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/find_failure.h"

#include <fmt/format.h>

#include <vector>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

struct Rectangle {
  PositionRange q, kv;

  uint64_t rows() const { return static_cast<uint64_t>(q.last) - static_cast<uint64_t>(q.first); }
  uint64_t columns() const {
    return static_cast<uint64_t>(kv.last) - static_cast<uint64_t>(kv.first);
  }
  bool is_cell() const { return rows() == 0 && columns() == 0; }
};

std::pair<PositionRange, PositionRange> Halves(PositionRange range) {
  const uint64_t size = static_cast<uint64_t>(range.last) - static_cast<uint64_t>(range.first);
  const auto middle = static_cast<int64_t>(static_cast<uint64_t>(range.first) + size / 2);
  return {{range.first, middle}, {middle + 1, range.last}};
}

bool MayDivideByZero(const PredicateProgram& program, std::span<const ValueRange> ranges,
                     int32_t index) {
  const ProgramNode& node = program.nodes()[index];
  if (node.op != PredicateOp::kFloorDivide && node.op != PredicateOp::kModulo) return false;
  return ranges[node.right].low <= 0 && ranges[node.right].high >= 0;
}

bool Precedes(const Rectangle& rectangle, const PredicateFailure& failure) {
  return rectangle.q.first < failure.q ||
         (rectangle.q.first == failure.q && rectangle.kv.first < failure.kv);
}

}  // namespace

std::optional<PredicateFailure> FindFailure(const PredicateProgram& program, PositionRange q,
                                            PositionRange kv) {
  std::vector<ValueRange> ranges(static_cast<size_t>(program.size()));
  std::optional<PredicateFailure> first;
  std::vector<Rectangle> left{{q, kv}};
  for (int64_t visited = 0; !left.empty(); ++visited) {
    const Rectangle rectangle = left.back();
    left.pop_back();
    if (first && !Precedes(rectangle, *first)) continue;
    FindRanges(program, rectangle.q, rectangle.kv, ranges);
    if (!ranges.back().may_fail) continue;
    const int32_t suspect = FirstFailure(program, ranges);
    if (rectangle.is_cell()) {
      first = PredicateFailure{rectangle.q.first, rectangle.kv.first, suspect};
      continue;
    }
    if (visited == kMostRectangles) {
      throw Error(ErrorCode::kTooLarge,
                  fmt::format("[where] expected a predicate that soon shows whether it divides by "
                              "zero or leaves 64 bits, but that was still open after {} rectangles",
                              kMostRectangles));
    }
    // Along the axis on which the suspect (of a division the divisor) depends; the longer one where
    // it depends on both.
    const ProgramNode& node =
        program.nodes()[MayDivideByZero(program, ranges, suspect) ? program.nodes()[suspect].right
                                                                  : suspect];
    const bool rows_matter = node.has_q || !node.has_kv,
               columns_matter = node.has_kv || !node.has_q;
    bool split_rows = rows_matter && (!columns_matter || rectangle.rows() >= rectangle.columns());
    if (split_rows ? rectangle.rows() == 0 : rectangle.columns() == 0) split_rows = !split_rows;
    // The half that comes first is on top of the stack.
    if (split_rows) {
      const auto [upper, lower] = Halves(rectangle.q);
      left.push_back({lower, rectangle.kv});
      left.push_back({upper, rectangle.kv});
    } else {
      const auto [before, after] = Halves(rectangle.kv);
      left.push_back({rectangle.q, after});
      left.push_back({rectangle.q, before});
    }
  }
  return first;
}

std::string Describe(const Predicate& predicate, const PredicateProgram& program,
                     const PredicateFailure& failure) {
  const ProgramNode& node = program.nodes()[failure.node];
  std::vector<ValueRange> ranges(static_cast<size_t>(program.size()));
  FindRanges(program, {failure.q, failure.q}, {failure.kv, failure.kv}, ranges);

  const bool by_zero = MayDivideByZero(program, ranges, failure.node);
  return fmt::format("{} {}", predicate.TextOf(node.source),
                     by_zero ? "divides by zero" : "leaves 64 bits");
}

}  // namespace splashmask
