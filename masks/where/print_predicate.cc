// SPDX-License-Identifier: Apache-2.0
// Predicate -> text. An operand is at most kMaxPredicateNodes deep, so that recursion is bounded.

#include <fmt/format.h>

#include <string>
#include <utility>

#include "splashmask/masks/where/predicate.h"

namespace splashmask {

std::string_view SymbolOf(PredicateOp op) {
  switch (op) {
    case PredicateOp::kAdd:
      return "+";
    case PredicateOp::kSubtract:
      return "-";
    case PredicateOp::kMultiply:
      return "*";
    case PredicateOp::kFloorDivide:
      return "//";
    case PredicateOp::kModulo:
      return "%";
    case PredicateOp::kEqual:
      return "==";
    case PredicateOp::kNotEqual:
      return "!=";
    case PredicateOp::kLess:
      return "<";
    case PredicateOp::kLessEqual:
      return "<=";
    case PredicateOp::kGreater:
      return ">";
    case PredicateOp::kGreaterEqual:
      return ">=";
    case PredicateOp::kAnd:
      return "and";
    default:
      return "or";
  }
}

namespace {

// Python's, loosest first.
enum class Binding : uint8_t { kOr, kAnd, kNot, kCompare, kSum, kProduct, kSign, kAtom };

Binding BindingOf(const PredicateNode& node) {
  switch (node.op) {
    case PredicateOp::kOr:
      return Binding::kOr;
    case PredicateOp::kAnd:
      return node.is_chain ? Binding::kCompare : Binding::kAnd;
    case PredicateOp::kNot:
      return Binding::kNot;
    case PredicateOp::kAdd:
    case PredicateOp::kSubtract:
      return Binding::kSum;
    case PredicateOp::kMultiply:
    case PredicateOp::kFloorDivide:
    case PredicateOp::kModulo:
      return Binding::kProduct;
    case PredicateOp::kNegate:
      return Binding::kSign;
    default:
      return IsComparison(node.op) ? Binding::kCompare : Binding::kAtom;
  }
}

class PredicatePrinter {
 public:
  explicit PredicatePrinter(std::span<const PredicateNode> nodes) : nodes_(nodes) {}

  void Print(int32_t index) {
    const PredicateNode& node = nodes_[index];
    switch (node.op) {
      case PredicateOp::kConstant:
        out_ += fmt::to_string(node.constant);
        return;
      case PredicateOp::kQ:
        out_ += "q";
        return;
      case PredicateOp::kKv:
        out_ += "kv";
        return;
      case PredicateOp::kQLen:
        out_ += "q_len";
        return;
      case PredicateOp::kKvLen:
        out_ += "kv_len";
        return;
      case PredicateOp::kNegate:
        out_ += "-";
        PrintAbove(node.left, Binding::kSign);
        return;
      case PredicateOp::kNot:
        out_ += "not ";
        PrintAbove(node.left, Binding::kNot);
        return;
      case PredicateOp::kAbs:
        out_ += "abs(";
        Print(node.left);
        out_ += ")";
        return;
      case PredicateOp::kMin:
      case PredicateOp::kMax:
        out_ += node.op == PredicateOp::kMin ? "min(" : "max(";
        PrintArguments(index);
        out_ += ")";
        return;
      default:
        PrintBinary(node);
    }
  }

  std::string Take() { return std::move(out_); }

 private:
  void PrintAbove(int32_t index, Binding lowest) {
    const bool parentheses = BindingOf(nodes_[index]) < lowest;
    if (parentheses) out_ += "(";
    Print(index);
    if (parentheses) out_ += ")";
  }

  // min(min(a, b), c) is min(a, b, c).
  void PrintArguments(int32_t index) {
    const PredicateNode& node = nodes_[index];
    if (nodes_[node.left].op == node.op) {
      PrintArguments(node.left);
    } else {
      Print(node.left);
    }
    out_ += ", ";
    Print(node.right);
  }

  void PrintBinary(const PredicateNode& node) {
    if (node.is_chain) {
      Print(node.left);
      const PredicateNode& next = nodes_[node.right];
      out_ += fmt::format(" {} ", SymbolOf(next.op));
      PrintAbove(next.right, Binding::kSum);
      return;
    }
    const Binding level = BindingOf(node);
    const auto above = static_cast<Binding>(static_cast<int>(level) + 1);
    PrintAbove(node.left, IsComparison(node.op) ? above : level);
    out_ += fmt::format(" {} ", SymbolOf(node.op));
    PrintAbove(node.right, above);
  }

  std::span<const PredicateNode> nodes_;
  std::string out_;
};

}  // namespace

Predicate::Predicate(std::vector<PredicateNode> nodes) {
  auto rep = std::make_shared<Rep>();
  rep->nodes = std::move(nodes);
  rep_ = rep;
  rep->text = TextOf(static_cast<int32_t>(rep->nodes.size()) - 1);
}

std::string Predicate::TextOf(int32_t node) const {
  PredicatePrinter printer(nodes());
  printer.Print(node);
  return printer.Take();
}

}  // namespace splashmask
