// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/find_failure.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/interruption.h"

namespace splashmask {

namespace {

// Positions first, first + step, ...: `count` of them.
struct Progression {
  int64_t first, count, step;

  PositionRange hull() const { return {first, first + (count - 1) * step}; }
  std::pair<Progression, Progression> Halves() const {
    const int64_t half = (count + 1) / 2;
    return {{first, half, step}, {first + half * step, count - half, step}};
  }
};

struct Rectangle {
  Progression q, kv;

  bool is_cell() const { return q.count == 1 && kv.count == 1; }
};

bool MayDivideByZero(const PredicateProgram& program, std::span<const ValueRange> ranges,
                     int32_t index) {
  const ProgramNode& node = program.nodes()[index];
  if (node.op != PredicateOp::kFloorDivide && node.op != PredicateOp::kModulo) return false;
  return ranges[node.right].may_be_zero();
}

bool Precedes(const Rectangle& rectangle, const PredicateFailure& failure) {
  return rectangle.q.first < failure.q ||
         (rectangle.q.first == failure.q && rectangle.kv.first < failure.kv);
}

// Into how many classes each axis falls: the modulus, or 1.
struct Classes {
  int64_t q = 1, kv = 1;

  int64_t modulus() const { return std::max(q, kv); }
  int64_t count() const { return q * kv; }
};

// Those in which remainders modulo constants are known.
Classes ClassesOf(const PredicateProgram& program) {
  constexpr int64_t kMostModulus = 1024;
  int64_t modulus = 1;
  bool has_q = false, has_kv = false;
  for (const ProgramNode& node : program.nodes()) {
    if (node.op != PredicateOp::kModulo) continue;
    const ProgramNode& divisor = program.nodes()[node.right];
    const bool is_small = divisor.op == PredicateOp::kConstant && divisor.constant > 1 &&
                          divisor.constant <= kMostModulus;
    if (!is_small || std::lcm(modulus, divisor.constant) > kMostModulus) continue;
    modulus = std::lcm(modulus, divisor.constant);
    has_q |= program.nodes()[node.left].has_q;
    has_kv |= program.nodes()[node.left].has_kv;
  }
  return {has_q ? modulus : 1, has_kv ? modulus : 1};
}

// The positions of a range that leave `residue` modulo `modulus`.
Progression ClassOf(PositionRange range, int64_t residue, int64_t modulus) {
  const int64_t size = range.last - range.first + 1;
  const __int128 remainder = range.first - FloorDivide(range.first, modulus) * modulus;
  const int64_t first = residue - static_cast<int64_t>(remainder);  // From range.first.
  const int64_t skipped = first < 0 ? first + modulus : first;
  if (size <= skipped) return {range.first, 0, modulus};
  return {range.first + skipped, (size - skipped - 1) / modulus + 1, modulus};
}

// Looks for the first failure, class by class.
class FailureSearch {
 public:
  FailureSearch(const PredicateProgram& program, PositionRange q, PositionRange kv, Classes classes)
      : program_(program),
        q_(q),
        kv_(kv),
        classes_(classes),
        ranges_(static_cast<size_t>(program.size())) {}

  const std::optional<PredicateFailure>& first() const { return first_; }
  int64_t visited() const { return visited_; }

  // Goes on halving rectangles of cells until intervals decide; false when `more` of them are not
  // enough.
  bool Continue(int64_t more) {
    for (const int64_t end = visited_ + more;; ++visited_) {
      if (left_.empty() && !StartNextClass()) return true;
      if (visited_ == end) return false;
      if (visited_ % kBetweenChecks == 0) InterruptionCheck::Run();
      const Rectangle rectangle = left_.back();
      left_.pop_back();
      if (first_ && !Precedes(rectangle, *first_)) continue;
      FindRanges(program_, rectangle.q.hull(), rectangle.kv.hull(), in_, ranges_);
      if (!ranges_.back().may_fail) continue;
      const int32_t suspect = FirstFailure(program_, ranges_);
      if (rectangle.is_cell()) {
        first_ = PredicateFailure{rectangle.q.first, rectangle.kv.first, suspect};
      } else {
        Split(rectangle, suspect);
      }
    }
  }

 private:
  static constexpr int64_t kBetweenChecks = 1 << 12;

  // False when there is none left.
  bool StartNextClass() {
    while (next_class_ < classes_.count()) {
      const int64_t a = next_class_ / classes_.kv, b = next_class_ % classes_.kv;
      ++next_class_;
      const Rectangle cells{ClassOf(q_, a, classes_.q), ClassOf(kv_, b, classes_.kv)};
      if (cells.q.count == 0 || cells.kv.count == 0) continue;
      in_ = {classes_.modulus(), classes_.q > 1 ? a : -1, classes_.kv > 1 ? b : -1};
      left_.push_back(cells);
      return true;
    }
    return false;
  }

  // Along the axis on which the suspect (of a division the divisor) depends; the longer one where
  // it depends on both.
  void Split(const Rectangle& rectangle, int32_t suspect) {
    const std::span<const ProgramNode> nodes = program_.nodes();
    const ProgramNode& node =
        nodes[MayDivideByZero(program_, ranges_, suspect) ? nodes[suspect].right : suspect];
    const bool rows_matter = node.has_q || !node.has_kv,
               columns_matter = node.has_kv || !node.has_q;
    bool split_rows = rows_matter && (!columns_matter || rectangle.q.count >= rectangle.kv.count);
    if (split_rows ? rectangle.q.count == 1 : rectangle.kv.count == 1) split_rows = !split_rows;
    // The half that comes first is on top of the stack.
    if (split_rows) {
      const auto [upper, lower] = rectangle.q.Halves();
      left_.push_back({lower, rectangle.kv});
      left_.push_back({upper, rectangle.kv});
    } else {
      const auto [before, after] = rectangle.kv.Halves();
      left_.push_back({rectangle.q, after});
      left_.push_back({rectangle.q, before});
    }
  }

  const PredicateProgram& program_;
  const PositionRange q_, kv_;
  const Classes classes_;
  int64_t next_class_ = 0;
  ResidueClass in_;
  std::vector<Rectangle> left_;  // Of class in_.
  std::vector<ValueRange> ranges_;
  int64_t visited_ = 0;
  std::optional<PredicateFailure> first_;
};

}  // namespace

std::optional<PredicateFailure> FindFailure(const PredicateProgram& program, PositionRange q,
                                            PositionRange kv) {
  constexpr int64_t kFew = 1 << 14;
  FailureSearch plain(program, q, kv, {});
  if (plain.Continue(kFew)) return plain.first();  // What intervals decide takes few rectangles.
  // Where remainders may tell, two searches go on in turns.
  const Classes classes = ClassesOf(program);
  FailureSearch by_class(program, q, kv, classes);
  for (int64_t more = kFew; more > 0;
       more = std::min(2 * more, kMostRectangles - plain.visited())) {
    if (classes.count() > 1 && by_class.Continue(more)) return by_class.first();
    if (plain.Continue(more)) return plain.first();
  }
  throw Error(ErrorCode::kTooLarge,
              fmt::format("[where] expected a predicate that soon shows whether it divides by "
                          "zero or leaves 64 bits, but that was still open after {} rectangles",
                          kMostRectangles));
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
