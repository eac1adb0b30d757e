// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/explain_predicate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "splashmask/masks/where/ranges.h"

namespace splashmask {

namespace {

class PredicateExplainer {
 public:
  PredicateExplainer(const Predicate& predicate, Shape shape, int64_t q, int64_t kv)
      : predicate_(predicate),
        program_(predicate, shape),
        values_(static_cast<size_t>(program_.size())) {
    FindRanges(program_, {q, q}, {kv, kv}, values_);
  }

  PredicateReason Explain() {
    Decide(program_.size() - 1);
    constexpr size_t kMostComparisons = 4;
    const size_t more = reasons_.size() > kMostComparisons ? reasons_.size() - kMostComparisons : 0;
    reasons_.resize(reasons_.size() - more);
    std::string text = fmt::format("{}", fmt::join(reasons_, "; "));
    if (more > 0) text += fmt::format("; and {} more", more);
    return {ValueOf(program_.size() - 1) != 0, text};
  }

 private:
  int64_t ValueOf(int32_t node) const { return values_[static_cast<size_t>(node)].low; }

  // Recursion is bounded by kMaxPredicateNodes.
  void Decide(int32_t index) {
    const ProgramNode& node = program_.nodes()[static_cast<size_t>(index)];
    if (node.op == PredicateOp::kNot) return Decide(node.left);
    if (node.op == PredicateOp::kAnd || node.op == PredicateOp::kOr) {
      // One false side of an `and` decides, or both true ones; the opposite of an `or`.
      const bool one_decides = (ValueOf(index) != 0) == (node.op == PredicateOp::kOr);
      const bool left_decides = ValueOf(node.left) == ValueOf(index);
      if (!one_decides || left_decides) Decide(node.left);
      if (!one_decides || !left_decides) Decide(node.right);
      return;
    }
    if (node.op == PredicateOp::kConstant) {
      reasons_.push_back(fmt::format("{} always {}", predicate_.TextOf(node.source),
                                     node.constant != 0 ? "holds" : "fails"));
      return;
    }
    reasons_.push_back(TextOf(node, ValueOf(index) != 0));
  }

  std::string TextOf(const ProgramNode& node, bool holds) const {
    const std::string numbers = fmt::format("{} {} {}{}", ValueOf(node.left), SymbolOf(node.op),
                                            ValueOf(node.right), holds ? "" : " is false");
    const auto is_plain = [&](int32_t operand) {
      return program_.nodes()[static_cast<size_t>(operand)].op <= PredicateOp::kKvLen;
    };
    if (is_plain(node.left) && is_plain(node.right)) return numbers;
    return fmt::format("{}: {}", predicate_.TextOf(node.source), numbers);
  }

  const Predicate& predicate_;
  PredicateProgram program_;
  std::vector<ValueRange> values_;
  std::vector<std::string> reasons_;
};

}  // namespace

PredicateReason ExplainPredicate(const Predicate& predicate, Shape shape, int64_t q, int64_t kv) {
  return PredicateExplainer(predicate, shape, q, kv).Explain();
}

}  // namespace splashmask
