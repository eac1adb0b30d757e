// SPDX-License-Identifier: Apache-2.0
#pragma once
// The predicate of `where("...")`: a condition on integers, as Python writes and evaluates it.
// Private to the project.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

enum class PredicateOp : uint8_t {
  kConstant,
  kQ,
  kKv,
  kQLen,
  kKvLen,  // Integers without operands.
  kNegate,
  kAbs,  // Of `left`.
  kAdd,
  kSubtract,
  kMultiply,
  kFloorDivide,
  kModulo,
  kMin,
  kMax,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,  // Conditions from here on.
  kNot,           // Of `left`.
  kAnd,
  kOr
};

/// How a binary operation is written between its operands, such as "//".
std::string_view SymbolOf(PredicateOp op);

constexpr bool IsCondition(PredicateOp op) { return op >= PredicateOp::kEqual; }
constexpr bool IsComparison(PredicateOp op) {
  return op >= PredicateOp::kEqual && op <= PredicateOp::kGreaterEqual;
}
/// How many of `left` and `right` an operation has.
constexpr int CountOperands(PredicateOp op) {
  if (op <= PredicateOp::kKvLen) return 0;
  const bool one = op == PredicateOp::kNegate || op == PredicateOp::kAbs || op == PredicateOp::kNot;
  return one ? 1 : 2;
}

/// One operation; operands are indices of earlier ones.
struct PredicateNode {
  PredicateOp op = PredicateOp::kConstant;
  /// Of kAnd: written as a chain, `a < b < c`; its right operand compares the right operand of the
  /// comparison before it.
  bool is_chain = false;
  int32_t left = -1, right = -1;
  int64_t constant = 0;  ///< Of kConstant.

  friend bool operator==(const PredicateNode&, const PredicateNode&) = default;
};

/// Most operations a predicate may have; equal sub-expressions count once.
inline constexpr int32_t kMaxPredicateNodes = 2000;

/// An immutable condition on `q`, `kv`, `q_len` and `kv_len`, cheap to copy. Its meaning is
/// Python's, in 64 bits: `//` and `%` round down, comparisons chain, `and` and `or` leave their
/// right side alone where the left one decides. Equal when the canonical texts are.
class Predicate {
 public:
  /// Throws kSyntax, with the column and a pointer under the text, for anything but a condition,
  /// and kInvalidArgument beyond kMaxPredicateNodes.
  static Predicate Parse(std::string_view text);

  /// Operations, each after its operands; the last one is the condition.
  std::span<const PredicateNode> nodes() const { return rep_->nodes; }
  /// The canonical text, with minimal parentheses; it parses to an equal predicate.
  const std::string& text() const { return rep_->text; }
  /// The text of one operation.
  std::string TextOf(int32_t node) const;

  friend bool operator==(const Predicate& a, const Predicate& b) { return a.text() == b.text(); }

 private:
  struct Rep {
    std::vector<PredicateNode> nodes;
    std::string text;
  };

  explicit Predicate(std::vector<PredicateNode> nodes);

  std::shared_ptr<const Rep> rep_;
};

}  // namespace splashmask
