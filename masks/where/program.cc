// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/program.h"

#include <utility>

#include "splashmask/masks/where/ranges.h"

namespace splashmask {

namespace {

bool IsModest(int64_t factor) {
  return factor >= -LinearForm::kMostFactor && factor <= LinearForm::kMostFactor;
}

// a + b * times, unless it leaves what a linear form holds.
std::optional<LinearForm> AddTimes(const LinearForm& a, const LinearForm& b, int64_t times) {
  LinearForm sum = b;
  const auto add = [&](int64_t LinearForm::*part) {
    return !__builtin_mul_overflow(b.*part, times, &(sum.*part)) &&
           !__builtin_add_overflow(a.*part, sum.*part, &(sum.*part));
  };
  const bool fits = add(&LinearForm::q_factor) && add(&LinearForm::kv_factor) &&
                    add(&LinearForm::constant) && IsModest(sum.q_factor) && IsModest(sum.kv_factor);
  return fits ? std::optional(sum) : std::nullopt;
}

// The linear form of a node whose operands are in `nodes`.
std::optional<LinearForm> FindLinear(const ProgramNode& node, std::span<const ProgramNode> nodes) {
  const auto of = [&](int32_t operand) { return nodes[operand].linear; };
  switch (node.op) {
    case PredicateOp::kConstant:
      return LinearForm{0, 0, node.constant};
    case PredicateOp::kQ:
      return LinearForm{1, 0, 0};
    case PredicateOp::kKv:
      return LinearForm{0, 1, 0};
    case PredicateOp::kNegate:
      return of(node.left) ? AddTimes({}, *of(node.left), -1) : std::nullopt;
    case PredicateOp::kAdd:
    case PredicateOp::kSubtract:
    case PredicateOp::kMultiply:
      break;
    default:
      if (!IsComparison(node.op)) return std::nullopt;
  }
  const auto left = of(node.left), right = of(node.right);
  if (!left || !right) return std::nullopt;
  if (node.op != PredicateOp::kMultiply) {
    return AddTimes(*left, *right, node.op == PredicateOp::kAdd ? 1 : -1);
  }
  const auto is_constant = [](const LinearForm& form) { return !form.q_factor && !form.kv_factor; };
  if (is_constant(*right)) return AddTimes({}, *left, right->constant);
  return is_constant(*left) ? AddTimes({}, *right, left->constant) : std::nullopt;
}

// Copies operations to nodes; equal ones are one already.
class Folder {
 public:
  Folder(const Predicate& predicate, Shape shape) : shape_(shape) {
    const std::span<const PredicateNode> operations = predicate.nodes();
    node_of_.reserve(operations.size());
    for (int32_t i = 0; i < std::ssize(operations); ++i) node_of_.push_back(Fold(operations[i], i));
  }

  // The nodes that the condition needs.
  std::vector<ProgramNode> Take() {
    std::vector<bool> is_needed(nodes_.size(), false);
    is_needed[node_of_.back()] = true;
    for (int32_t i = node_of_.back(); i >= 0; --i) {
      if (!is_needed[i]) continue;
      for (const int32_t operand : {nodes_[i].left, nodes_[i].right}) {
        if (operand >= 0) is_needed[operand] = true;
      }
    }
    std::vector<ProgramNode> needed;
    std::vector<int32_t> moved(nodes_.size(), -1);
    for (int32_t i = 0; i <= node_of_.back(); ++i) {
      if (!is_needed[i]) continue;
      moved[i] = static_cast<int32_t>(needed.size());
      ProgramNode& node = needed.emplace_back(nodes_[i]);
      if (node.left >= 0) node.left = moved[node.left];
      if (node.right >= 0) node.right = moved[node.right];
    }
    return needed;
  }

 private:
  int32_t Fold(const PredicateNode& operation, int32_t source) {
    ProgramNode node{operation.op};
    node.source = source;
    switch (operation.op) {
      case PredicateOp::kConstant:
        return AddConstant(operation.constant, source);
      case PredicateOp::kQLen:
        return AddConstant(shape_.q_len, source);
      case PredicateOp::kKvLen:
        return AddConstant(shape_.kv_len, source);
      case PredicateOp::kQ:
        node.has_q = true;
        return Add(node);
      case PredicateOp::kKv:
        node.has_kv = true;
        return Add(node);
      default:
        break;
    }
    node.left = node_of_[operation.left];
    const ProgramNode& left = nodes_[node.left];
    node.has_q = left.has_q;
    node.has_kv = left.has_kv;
    if (operation.right >= 0) {
      node.right = node_of_[operation.right];
      node.has_q |= nodes_[node.right].has_q;
      node.has_kv |= nodes_[node.right].has_kv;
      if (left.op == PredicateOp::kConstant && IsCondition(operation.op) &&
          !IsComparison(operation.op)) {
        // The left side decides, or leaves it to the right one.
        const bool decides = (operation.op == PredicateOp::kOr) == (left.constant != 0);
        return decides ? node.left : node.right;
      }
    }
    if (!node.has_q && !node.has_kv) {
      const ValueRange value =
          FindRange(node, RangeOfConstant(node.left),
                    node.right < 0 ? ValueRange{} : RangeOfConstant(node.right));
      if (!value.may_fail) return AddConstant(value.low, source);
    }
    return Add(node);
  }

  // Of a node without positions: one that cannot be folded always fails.
  ValueRange RangeOfConstant(int32_t node) const {
    const bool is_known = nodes_[node].op == PredicateOp::kConstant;
    return {nodes_[node].constant, nodes_[node].constant, !is_known};
  }

  int32_t AddConstant(int64_t value, int32_t source) {
    ProgramNode node{PredicateOp::kConstant};
    node.constant = value;
    node.source = source;
    return Add(node);
  }

  int32_t Add(ProgramNode node) {
    node.linear = FindLinear(node, nodes_);
    nodes_.push_back(node);
    return static_cast<int32_t>(nodes_.size()) - 1;
  }

  Shape shape_;
  std::vector<ProgramNode> nodes_;
  std::vector<int32_t> node_of_;  // Of each operation.
};

}  // namespace

PredicateProgram::PredicateProgram(const Predicate& predicate, Shape shape)
    : nodes_(Folder(predicate, shape).Take()) {}

}  // namespace splashmask
