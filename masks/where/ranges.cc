// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/ranges.h"

#include <algorithm>
#include <limits>

namespace splashmask {

namespace {

// Holds any sum, difference or product of two 64-bit integers.
__extension__ typedef __int128 Wide;

constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
constexpr int64_t kHighest = std::numeric_limits<int64_t>::max();

// What is left of [low, high] in 64 bits; the rest fails.
ValueRange Narrow(Wide low, Wide high, bool may_fail) {
  if (low < kLowest || high > kHighest) may_fail = true;
  return {static_cast<int64_t>(std::clamp<Wide>(low, kLowest, kHighest)),
          static_cast<int64_t>(std::clamp<Wide>(high, kLowest, kHighest)), may_fail};
}

struct WideRange {
  Wide low, high;
};

// Adds the range of op(a, b) over a box where it is monotone in each operand.
template <typename Op>
void AddCorners(const ValueRange& a, Wide b_low, Wide b_high, Op op, WideRange* all) {
  for (const Wide x : {Wide{a.low}, Wide{a.high}}) {
    for (const Wide y : {b_low, b_high}) {
      all->low = std::min(all->low, op(x, y));
      all->high = std::max(all->high, op(x, y));
    }
  }
}

constexpr WideRange kNone{Wide{1} << 126, -(Wide{1} << 126)};

ValueRange Finish(const WideRange& all, bool may_fail) {
  if (all.low > all.high) return {0, 0, true};  // It always fails.
  return Narrow(all.low, all.high, may_fail);
}

ValueRange Multiply(const ValueRange& a, const ValueRange& b, bool may_fail) {
  WideRange all = kNone;
  AddCorners(
      a, b.low, b.high, [](Wide x, Wide y) { return x * y; }, &all);
  return Finish(all, may_fail);
}

// Divisors below and above zero, each kind apart.
ValueRange Divide(const ValueRange& a, const ValueRange& b, bool may_fail) {
  WideRange all = kNone;
  if (b.low < 0) AddCorners(a, b.low, std::min<int64_t>(b.high, -1), FloorDivide, &all);
  if (b.high > 0) AddCorners(a, std::max<int64_t>(b.low, 1), b.high, FloorDivide, &all);
  return Finish(all, may_fail || b.may_be_zero());
}

// x mod m for x in [low, high], m in [least, most], least >= 1.
WideRange ModuloPositive(Wide low, Wide high, Wide least, Wide most) {
  if (low >= 0 && high < least) return {low, high};
  if (least == most) {
    const Wide period = FloorDivide(low, most);
    if (period == FloorDivide(high, most)) return {low - period * most, high - period * most};
  }
  return {0, low >= 0 ? std::min(high, most - 1) : most - 1};
}

// The sign of a remainder is that of the divisor: x mod -m is -(-x mod m).
ValueRange Modulo(const ValueRange& a, const ValueRange& b, bool may_fail) {
  WideRange all = kNone;
  if (b.low < 0) {
    const WideRange mirrored =
        ModuloPositive(-Wide{a.high}, -Wide{a.low}, std::max<Wide>(1, -Wide{b.high}), -Wide{b.low});
    all = {-mirrored.high, -mirrored.low};
  }
  if (b.high > 0) {
    const WideRange positive = ModuloPositive(a.low, a.high, std::max<Wide>(1, b.low), b.high);
    all = {std::min(all.low, positive.low), std::max(all.high, positive.high)};
  }
  return Finish(all, may_fail || b.may_be_zero());
}

ValueRange Absolute(const ValueRange& a) {
  if (a.low >= 0) return a;
  if (a.high <= 0) return Narrow(-Wide{a.high}, -Wide{a.low}, a.may_fail);
  return Narrow(0, std::max<Wide>(-Wide{a.low}, a.high), a.may_fail);
}

// The truth of `difference op 0` for differences in [low, high].
ValueRange Compare(PredicateOp op, Wide low, Wide high, bool may_fail) {
  const auto decide = [&](bool always, bool never) { return ValueRange{always, !never, may_fail}; };
  switch (op) {
    case PredicateOp::kEqual:
      return decide(low == 0 && high == 0, low > 0 || high < 0);
    case PredicateOp::kNotEqual:
      return decide(low > 0 || high < 0, low == 0 && high == 0);
    case PredicateOp::kLess:
      return decide(high < 0, low >= 0);
    case PredicateOp::kLessEqual:
      return decide(high <= 0, low > 0);
    case PredicateOp::kGreater:
      return decide(low > 0, high <= 0);
    default:
      return decide(low >= 0, high < 0);
  }
}

// The range of a linear form; exact, as q and kv go through a box.
WideRange RangeOf(const LinearForm& form, PositionRange q, PositionRange kv) {
  const Wide q_low = form.q_factor >= 0 ? q.first : q.last;
  const Wide q_high = form.q_factor >= 0 ? q.last : q.first;
  const Wide kv_low = form.kv_factor >= 0 ? kv.first : kv.last;
  const Wide kv_high = form.kv_factor >= 0 ? kv.last : kv.first;
  return {q_low * form.q_factor + kv_low * form.kv_factor + form.constant,
          q_high * form.q_factor + kv_high * form.kv_factor + form.constant};
}

// What value leaves modulo that of `in`.
int64_t ResidueOf(Wide value, const ResidueClass& in) {
  return static_cast<int64_t>(value - FloorDivide(value, in.modulus) * in.modulus);
}

// Notes what is known of the values of a node, whose range is known, from what is of its operands.
void SetResidue(const ProgramNode& node, const ValueRange& a, const ValueRange& b,
                const ResidueClass& in, ValueRange* range) {
  const auto from_both = [&](auto op) {
    if (a.residue >= 0 && b.residue >= 0) range->residue = ResidueOf(op(a.residue, b.residue), in);
  };
  if (range->is_single()) {
    range->residue = ResidueOf(range->low, in);
    return;
  }
  switch (node.op) {
    case PredicateOp::kQ:
      range->residue = in.q;
      return;
    case PredicateOp::kKv:
      range->residue = in.kv;
      return;
    case PredicateOp::kNegate:
      if (a.residue >= 0) range->residue = ResidueOf(-Wide{a.residue}, in);
      return;
    case PredicateOp::kAbs:
      if (a.residue >= 0 && (a.low >= 0 || a.high <= 0)) {
        range->residue = ResidueOf(a.low >= 0 ? a.residue : -Wide{a.residue}, in);
      }
      return;
    case PredicateOp::kAdd:
      return from_both([](Wide x, Wide y) { return x + y; });
    case PredicateOp::kSubtract:
      return from_both([](Wide x, Wide y) { return x - y; });
    case PredicateOp::kMultiply:
      return from_both([](Wide x, Wide y) { return x * y; });
    case PredicateOp::kModulo:
      if (a.residue >= 0 && b.is_single() && b.low > 0 && in.modulus % b.low == 0) {
        range->low = range->high = range->residue = a.residue % b.low;
      }
      return;
    default:
      return;
  }
}

}  // namespace

ValueRange FindRange(const ProgramNode& node, const ValueRange& a, const ValueRange& b) {
  const bool may_fail = a.may_fail || (node.right >= 0 && b.may_fail);
  switch (node.op) {
    case PredicateOp::kNegate:
      return Narrow(-Wide{a.high}, -Wide{a.low}, may_fail);
    case PredicateOp::kAbs:
      return Absolute(a);
    case PredicateOp::kAdd:
      return Narrow(Wide{a.low} + b.low, Wide{a.high} + b.high, may_fail);
    case PredicateOp::kSubtract:
      return Narrow(Wide{a.low} - b.high, Wide{a.high} - b.low, may_fail);
    case PredicateOp::kMultiply:
      return Multiply(a, b, may_fail);
    case PredicateOp::kFloorDivide:
      return Divide(a, b, may_fail);
    case PredicateOp::kModulo:
      return Modulo(a, b, may_fail);
    case PredicateOp::kMin:
      return {std::min(a.low, b.low), std::min(a.high, b.high), may_fail};
    case PredicateOp::kMax:
      return {std::max(a.low, b.low), std::max(a.high, b.high), may_fail};
    case PredicateOp::kNot:
      return {1 - a.high, 1 - a.low, may_fail};
    case PredicateOp::kAnd:  // The right side counts where the left one may hold.
      return {a.low & b.low, a.high & b.high, a.may_fail || (a.high != 0 && b.may_fail)};
    case PredicateOp::kOr:
      return {a.low | b.low, a.high | b.high, a.may_fail || (a.low == 0 && b.may_fail)};
    case PredicateOp::kConstant:
    case PredicateOp::kQ:
    case PredicateOp::kKv:
    case PredicateOp::kQLen:
    case PredicateOp::kKvLen:
      return {node.constant, node.constant, false};
    default:
      if (node.left == node.right) return Compare(node.op, 0, 0, may_fail);
      return Compare(node.op, Wide{a.low} - b.high, Wide{a.high} - b.low, may_fail);
  }
}

namespace {

// Calls see(node, left, right, &range) for each node, in order, when its range has been found.
template <typename See>
void FindEachRange(const PredicateProgram& program, PositionRange q, PositionRange kv,
                   std::span<ValueRange> ranges, const See& see) {
  const std::span<const ProgramNode> nodes = program.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ProgramNode& node = nodes[i];
    const ValueRange left = node.left < 0 ? ValueRange{} : ranges[node.left];
    const ValueRange right = node.right < 0 ? ValueRange{} : ranges[node.right];
    if (!node.linear) {
      ranges[i] = FindRange(node, left, right);
    } else {
      const WideRange value = RangeOf(*node.linear, q, kv);
      const bool may_fail = left.may_fail || right.may_fail;
      ranges[i] = IsComparison(node.op) ? Compare(node.op, value.low, value.high, may_fail)
                                        : Narrow(value.low, value.high, may_fail);
    }
    see(node, left, right, &ranges[i]);
  }
}

}  // namespace

void FindRanges(const PredicateProgram& program, PositionRange q, PositionRange kv,
                std::span<ValueRange> ranges) {
  FindEachRange(program, q, kv, ranges,
                [](const ProgramNode&, const ValueRange&, const ValueRange&, ValueRange*) {});
}

void FindRanges(const PredicateProgram& program, PositionRange q, PositionRange kv,
                const ResidueClass& in, std::span<ValueRange> ranges) {
  FindEachRange(program, q, kv, ranges,
                [&](const ProgramNode& node, const ValueRange& left, const ValueRange& right,
                    ValueRange* range) { SetResidue(node, left, right, in, range); });
}

int32_t FirstFailure(const PredicateProgram& program, std::span<const ValueRange> ranges) {
  const std::span<const ProgramNode> nodes = program.nodes();
  int32_t node = program.size() - 1;
  while (true) {
    const int32_t left = nodes[node].left, right = nodes[node].right;
    const bool right_counts = nodes[node].op == PredicateOp::kAnd  ? ranges[left].high != 0
                              : nodes[node].op == PredicateOp::kOr ? ranges[left].low == 0
                                                                   : true;
    if (left >= 0 && ranges[left].may_fail) {
      node = left;
    } else if (right >= 0 && ranges[right].may_fail && right_counts) {
      node = right;
    } else {
      return node;
    }
  }
}

bool FitsInt32(const PredicateProgram& program, PositionRange q, PositionRange kv) {
  std::vector<ValueRange> ranges(static_cast<size_t>(program.size()));
  FindRanges(program, q, kv, ranges);
  return std::all_of(ranges.begin(), ranges.end(), [](const ValueRange& range) {
    return range.low >= std::numeric_limits<int32_t>::min() &&
           range.high <= std::numeric_limits<int32_t>::max();
  });
}

}  // namespace splashmask
