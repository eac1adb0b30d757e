// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/predicate_set.h"

#include <vector>

#include "splashmask/masks/where/ranges.h"

namespace splashmask::simplify {

namespace {

// A condition as a set of one coordinate; kTrue: everything or nothing, of any coordinate.
struct ConditionSet {
  Kind kind = Kind::kTrue;
  LineSet set{false};
};

// The x with factor * x + constant >= 0; the factor is not 0.
LineSet AtLeastZero(Wide factor, Wide constant) {
  if (factor > 0) return LineSet::From(-FloorDivide(constant, factor));
  return LineSet::Below(FloorDivide(constant, -factor) + 1);
}

// The x with factor * x + constant `op` 0.
LineSet Solve(PredicateOp op, Wide factor, Wide constant) {
  switch (op) {
    case PredicateOp::kGreaterEqual:
      return AtLeastZero(factor, constant);
    case PredicateOp::kGreater:
      return AtLeastZero(factor, constant - 1);
    case PredicateOp::kLess:
      return AtLeastZero(factor, constant).Complement();
    case PredicateOp::kLessEqual:
      return AtLeastZero(factor, constant - 1).Complement();
    default: {
      const bool any = constant % factor == 0;
      const Wide x = -constant / factor;
      const LineSet equal = any ? LineSet::Between(x, x + 1) : LineSet(false);
      return op == PredicateOp::kEqual ? equal : equal.Complement();
    }
  }
}

std::optional<ConditionSet> SetOfComparison(const ProgramNode& node) {
  if (!node.linear) return std::nullopt;
  const auto [q, kv, constant] = *node.linear;
  if (kv == 0 && q != 0) return ConditionSet{Kind::kRows, Solve(node.op, q, constant)};
  if (q == 0 && kv != 0) return ConditionSet{Kind::kColumns, Solve(node.op, kv, constant)};
  if (q == -kv && kv != 0) return ConditionSet{Kind::kDiagonals, Solve(node.op, kv, constant)};
  return std::nullopt;
}

std::optional<ConditionSet> Join(PredicateOp op, const ConditionSet& a, const ConditionSet& b) {
  if (a.kind != b.kind && a.kind != Kind::kTrue && b.kind != Kind::kTrue) return std::nullopt;
  const auto both = op == PredicateOp::kAnd ? [](bool x, bool y) { return x && y; }
                                            : [](bool x, bool y) { return x || y; };
  return ConditionSet{a.kind == Kind::kTrue ? b.kind : a.kind,
                      LineSet::Combine(a.set, b.set, both)};
}

}  // namespace

std::optional<Literal> SetOfPredicate(Terms& terms, const Predicate& predicate, Shape shape,
                                      const Domain& domain) {
  const PredicateProgram program(predicate, shape);
  std::vector<ValueRange> ranges(static_cast<size_t>(program.size()));
  const auto positions = [](const Interval& axis) {
    return PositionRange{static_cast<int64_t>(axis.first), static_cast<int64_t>(axis.last)};
  };
  FindRanges(program, positions(domain.q), positions(domain.kv), ranges);

  std::vector<std::optional<ConditionSet>> sets(ranges.size());
  for (size_t i = 0; i < sets.size(); ++i) {
    const ProgramNode& node = program.nodes()[i];
    const auto of = [&](int32_t operand) { return sets[static_cast<size_t>(operand)]; };
    const bool is_constant = node.op == PredicateOp::kConstant;  // A folded condition may be one.
    if (ranges[i].is_single() && (IsCondition(node.op) || is_constant)) {
      sets[i] = ConditionSet{Kind::kTrue, LineSet(ranges[i].low != 0)};
    } else if (IsComparison(node.op)) {
      sets[i] = SetOfComparison(node);
    } else if (node.op == PredicateOp::kNot && of(node.left)) {
      sets[i] = ConditionSet{of(node.left)->kind, of(node.left)->set.Complement()};
    } else if (IsCondition(node.op) && node.right >= 0 && of(node.left) && of(node.right)) {
      sets[i] = Join(node.op, *of(node.left), *of(node.right));
    }
  }
  const std::optional<ConditionSet>& all = sets.back();
  if (!all) return std::nullopt;
  if (all->kind == Kind::kTrue) return all->set.IsAll() ? kTrue : kFalse;
  return terms.Set(all->kind, all->set.Clip(domain.Line(all->kind)));
}

}  // namespace splashmask::simplify
