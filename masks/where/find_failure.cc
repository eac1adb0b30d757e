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

// Looks for the first failure among all cells that it is given.
class FailureSearch {
 public:
  explicit FailureSearch(const PredicateProgram& program)
      : program_(program), ranges_(static_cast<size_t>(program.size())) {}

  const std::optional<PredicateFailure>& first() const { return first_; }

  // Halves rectangles of cells that are all in one class until intervals decide; false when all
  // searches together take more than `most` of them.
  bool Search(const Rectangle& all, const ResidueClass& in, int64_t most) {
    left_ = {all};
    for (; !left_.empty(); ++visited_) {
      if (visited_ >= most) return false;
      if (visited_ % kBetweenChecks == 0) InterruptionCheck::Run();
      const Rectangle rectangle = left_.back();
      left_.pop_back();
      if (first_ && !Precedes(rectangle, *first_)) continue;
      FindRanges(program_, rectangle.q.hull(), rectangle.kv.hull(), in, ranges_);
      if (!ranges_.back().may_fail) continue;
      const int32_t suspect = FirstFailure(program_, ranges_);
      if (rectangle.is_cell()) {
        first_ = PredicateFailure{rectangle.q.first, rectangle.kv.first, suspect};
      } else {
        Split(rectangle, suspect);
      }
    }
    return true;
  }

 private:
  static constexpr int64_t kBetweenChecks = 1 << 16;

  // Along the axis on which the suspect (of a division the divisor) depends; the longer one where
  // it depends on both.
  void Split(const Rectangle& rectangle, int32_t suspect) {
    const ProgramNode& node =
        program_
            .nodes()[MayDivideByZero(program_, ranges_, suspect) ? program_.nodes()[suspect].right
                                                                 : suspect];
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
  std::vector<ValueRange> ranges_;
  std::vector<Rectangle> left_;
  int64_t visited_ = 0;
  std::optional<PredicateFailure> first_;
};

// Into how many classes each axis falls so that remainders modulo constants are known in each: the
// modulus, or 1 where none depends on it.
struct Classes {
  int64_t q = 1, kv = 1;

  int64_t modulus() const { return std::max(q, kv); }

  explicit Classes(const PredicateProgram& program) {
    constexpr int64_t kMost = 1024;
    int64_t modulus = 1;
    bool has_q = false, has_kv = false;
    for (const ProgramNode& node : program.nodes()) {
      if (node.op != PredicateOp::kModulo) continue;
      const ProgramNode& divisor = program.nodes()[node.right];
      if (divisor.op != PredicateOp::kConstant || divisor.constant < 2 ||
          divisor.constant > kMost) {
        continue;
      }
      const int64_t both = std::lcm(modulus, divisor.constant);
      if (both > kMost) continue;
      modulus = both;
      has_q |= program.nodes()[node.left].has_q;
      has_kv |= program.nodes()[node.left].has_kv;
    }
    if (has_q) q = modulus;
    if (has_kv) kv = modulus;
  }
};

// The positions of a range that leave `residue` modulo `modulus`.
Progression ClassOf(PositionRange range, int64_t residue, int64_t modulus) {
  const int64_t size = range.last - range.first + 1;
  const __int128 remainder = range.first - FloorDivide(range.first, modulus) * modulus;
  const int64_t first = residue - static_cast<int64_t>(remainder);  // From range.first.
  const int64_t skipped = first < 0 ? first + modulus : first;
  return {range.first + skipped, size > skipped ? (size - skipped - 1) / modulus + 1 : 0, modulus};
}

}  // namespace

std::optional<PredicateFailure> FindFailure(const PredicateProgram& program, PositionRange q,
                                            PositionRange kv) {
  FailureSearch search(program);
  // What intervals decide takes few rectangles; what depends on remainders is asked class by class.
  constexpr int64_t kFewRectangles = int64_t{1} << 14;
  const Classes classes(program);
  const bool has_classes = classes.modulus() > 1;
  bool is_open = !search.Search({ClassOf(q, 0, 1), ClassOf(kv, 0, 1)}, {},
                                has_classes ? kFewRectangles : kMostRectangles);
  if (is_open && has_classes) {
    is_open = false;
    for (int64_t a = 0; a < classes.q && !is_open; ++a) {
      for (int64_t b = 0; b < classes.kv && !is_open; ++b) {
        const Rectangle part{ClassOf(q, a, classes.q), ClassOf(kv, b, classes.kv)};
        if (part.q.count == 0 || part.kv.count == 0) continue;
        const ResidueClass in{classes.modulus(), classes.q > 1 ? a : -1, classes.kv > 1 ? b : -1};
        is_open = !search.Search(part, in, kMostRectangles);
      }
    }
  }
  if (is_open) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[where] expected a predicate that soon shows whether it divides by "
                            "zero or leaves 64 bits, but that was still open after {} rectangles",
                            kMostRectangles));
  }
  return search.first();
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
