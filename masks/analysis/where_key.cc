// SPDX-License-Identifier: Apache-2.0
// Every integer of a predicate is, over a rectangle, a base plus a pattern: its value in the first
// cell, or a part of that, and what the position inside the rectangle adds. Sums add bases; a
// comparison sees the difference of two bases alone; x // m sees the base of x modulo m, and passes
// the quotient on. So two rectangles far apart, along a diagonal or a period of the mask, show the
// same key, which holds only what the patterns depend on.

#include "splashmask/masks/analysis/where_key.h"

#include <limits>
#include <vector>

#include "splashmask/masks/analysis/band.h"

namespace splashmask {

namespace {

// How a node's pattern follows from its operands in this rectangle.
enum class Form : uint8_t {
  kUnneeded,  // Nobody looks at it.
  kUniform,   // One value in all cells: no pattern.
  kTrue,      // The same of a condition that holds.
  kLinear,    // Of the positions themselves.
  kGeneral,   // By the node's own rule.
  kLeft,      // That of the left operand.
  kRight,     // That of the right operand.
  kMirrored,  // That of the left operand, negated.
};

class KeyMaker {
 public:
  KeyMaker(std::span<const ProgramNode> nodes, std::span<const ValueRange> ranges, const Rows& rows,
           KvRange kv, RectKey* key)
      : nodes_(nodes),
        ranges_(ranges),
        rows_(rows),
        kv_(kv),
        key_(key),
        forms_(nodes.size()),
        bases_(nodes.size()) {}

  bool Make() {
    FindForms();
    AppendForms();
    for (size_t i = 0; i < nodes_.size() && fits_; ++i) {
      if (forms_[i] == Form::kUnneeded || forms_[i] == Form::kTrue) continue;
      bases_[i] = Narrow(IsCondition(nodes_[i].op) ? AppendCondition(i) : AppendInteger(i));
    }
    return fits_;
  }

 private:
  void Append(Wide value) {
    const auto narrow = static_cast<int64_t>(value);
    fits_ &= narrow == value;
    key_->push_back(narrow);
  }

  // From the condition down: what is needed, and in which form.
  void FindForms() {
    std::vector<bool> is_needed(nodes_.size(), false);
    is_needed.back() = true;
    for (auto i = static_cast<int32_t>(nodes_.size()) - 1; i >= 0; --i) {
      if (!is_needed[i]) continue;
      const ProgramNode& node = nodes_[i];
      const Form form = forms_[i] = FormOf(i);
      const bool is_general = form == Form::kGeneral;
      if (node.left >= 0 && (is_general || form == Form::kLeft || form == Form::kMirrored)) {
        is_needed[node.left] = true;
      }
      if (node.right >= 0 && (is_general || form == Form::kRight)) is_needed[node.right] = true;
      // A remainder in one period is what it is of, less a multiple of the divisor.
      if (node.op == PredicateOp::kModulo && form == Form::kLeft) is_needed[node.right] = true;
    }
  }

  Form FormOf(int32_t index) const {
    const ProgramNode& node = nodes_[index];
    const ValueRange& range = ranges_[index];
    if (range.is_single()) {
      return IsCondition(node.op) && range.low != 0 ? Form::kTrue : Form::kUniform;
    }
    if (node.linear) return Form::kLinear;
    switch (node.op) {
      case PredicateOp::kAbs:
        return ranges_[node.left].low >= 0    ? Form::kLeft
               : ranges_[node.left].high <= 0 ? Form::kMirrored
                                              : Form::kGeneral;
      case PredicateOp::kMin:
      case PredicateOp::kMax: {
        const bool is_min = node.op == PredicateOp::kMin;
        const ValueRange& low = ranges_[is_min ? node.left : node.right];
        const ValueRange& high = ranges_[is_min ? node.right : node.left];
        return low.high <= high.low   ? Form::kLeft
               : high.high <= low.low ? Form::kRight
                                      : Form::kGeneral;
      }
      case PredicateOp::kModulo: {
        const ValueRange& of = ranges_[node.left];
        const ValueRange& by = ranges_[node.right];
        const bool is_one_period = by.is_single() && by.low > 0 &&
                                   FloorDivide(of.low, by.low) == FloorDivide(of.high, by.low);
        return is_one_period ? Form::kLeft : Form::kGeneral;
      }
      default:
        return Form::kGeneral;
    }
  }

  // Sixteen forms a number: they say how to read the numbers that follow.
  void AppendForms() {
    uint64_t packed = 0;
    for (size_t i = 0; i < forms_.size(); ++i) {
      packed = packed << 4 | static_cast<uint64_t>(forms_[i]);
      if (i % 16 == 15 || i + 1 == forms_.size()) {
        key_->push_back(static_cast<int64_t>(packed));
        packed = 0;
      }
    }
  }

  bool HasPattern(int32_t node) const { return forms_[node] != Form::kUniform; }

  // Appends what the pattern of an integer depends on; returns its base.
  Wide AppendInteger(size_t index) {
    const ProgramNode& node = nodes_[index];
    if (forms_[index] == Form::kUniform) return ranges_[index].low;
    if (forms_[index] == Form::kLinear) return node.linear->At(rows_.first, kv_.begin);
    const Wide left = node.left < 0 ? 0 : bases_[node.left];
    const Wide right = node.right < 0 ? 0 : bases_[node.right];
    if (forms_[index] == Form::kMirrored) return -left;
    if (forms_[index] == Form::kRight) return right;
    switch (node.op) {
      case PredicateOp::kNegate:
        return -left;
      case PredicateOp::kAdd:
        return left + right;
      case PredicateOp::kSubtract:
        return left - right;
      case PredicateOp::kMultiply:
        return AppendProduct(node);
      case PredicateOp::kFloorDivide:
      case PredicateOp::kModulo:
        return AppendQuotient(node, forms_[index]);
      case PredicateOp::kAbs:
        if (forms_[index] == Form::kLeft) return left;
        Append(left);
        return 0;
      default:  // The lesser or the greater one.
        if (forms_[index] == Form::kLeft) return left;
        Append(left - right);
        return right;
    }
  }

  Wide AppendProduct(const ProgramNode& node) {
    const Wide left = bases_[node.left], right = bases_[node.right];
    if (HasPattern(node.left)) Append(right);
    if (HasPattern(node.right)) Append(left);
    const bool one_is_uniform = !HasPattern(node.left) || !HasPattern(node.right);
    return one_is_uniform ? left * right : 0;
  }

  Wide AppendQuotient(const ProgramNode& node, Form form) {
    const Wide of = bases_[node.left], by = bases_[node.right];
    if (form == Form::kLeft) return of - FloorDivide(ranges_[node.left].low, by) * by;
    if (HasPattern(node.right) || by <= 0) {
      Append(of);
      Append(by);
      return 0;
    }
    Append(by);
    Append(of - FloorDivide(of, by) * by);
    return node.op == PredicateOp::kFloorDivide ? FloorDivide(of, by) : 0;
  }

  // Appends what the pattern of a condition depends on, beside those of its operands.
  Wide AppendCondition(size_t index) {
    const ProgramNode& node = nodes_[index];
    if (forms_[index] == Form::kLinear) {
      Append(node.linear->At(rows_.first, kv_.begin));
    } else if (forms_[index] == Form::kGeneral && IsComparison(node.op)) {
      Append(bases_[node.left] - bases_[node.right]);
    }
    return 0;
  }

  // A base beyond 64 bits ends it: a product of two might no longer fit.
  Wide Narrow(Wide base) {
    const bool fits = base == static_cast<int64_t>(base);
    fits_ &= fits;
    return fits ? base : 0;
  }

  std::span<const ProgramNode> nodes_;
  std::span<const ValueRange> ranges_;
  const Rows& rows_;
  const KvRange kv_;
  RectKey* key_;
  std::vector<Form> forms_;
  std::vector<Wide> bases_;  // Of integers.
  bool fits_ = true;
};

}  // namespace

bool AppendPredicateKey(const PredicateProgram& program, std::span<const ValueRange> ranges,
                        const Rows& rows, KvRange kv, RectKey* key) {
  return KeyMaker(program.nodes(), ranges, rows, kv, key).Make();
}

}  // namespace splashmask
