// SPDX-License-Identifier: Apache-2.0
#pragma once
// Expressions while they are rewritten: terms of one kind of operator each, every distinct one
// stored once. Private to the project.
//
// `or`, `-` and `~` are not terms: a Literal is a term or its negation, and a | b is ~(~a & ~b).

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/simplify/line_set.h"

namespace splashmask::simplify {

/// In the order in which the operands of an operator are written.
enum class Kind : uint8_t {
  kTrue,
  kDiagonals,  ///< A set of differences kv - q.
  kColumns,    ///< A set of kv positions.
  kRows,       ///< A set of q positions.
  kLeaf,       ///< Any other mask without operands.
  kReorder,
  kXor,
  kAnd
};

class Literal {
 public:
  explicit Literal(uint32_t term, bool negated = false) : code_(2 * term + (negated ? 1 : 0)) {}

  uint32_t term() const { return code_ / 2; }
  bool negated() const { return code_ % 2 == 1; }
  uint32_t code() const { return code_; }
  Literal operator~() const { return *this ^ true; }
  Literal operator^(bool negate) const { return Literal(term(), negated() != negate); }
  friend bool operator==(const Literal&, const Literal&) = default;

 private:
  uint32_t code_;
};

inline const Literal kTrue{0, false}, kFalse{0, true};

struct Term {
  Kind kind = Kind::kTrue;
  /// Where membership of a set flips; far to the left nothing belongs.
  std::vector<Wide> flips = {};
  std::optional<Mask> leaf = {};
  size_t function = 0;  ///< Of a leaf that is a custom function: its number by first appearance.
  /// Of kAnd, two or more, none of them true, false or a kAnd itself; of kXor, two or more, none
  /// negated or a kXor; of kReorder one, not negated. In the order of Terms::Compare.
  std::vector<Literal> parts = {};
  uint32_t order = 0;  ///< Of kReorder: the number of its positions.
  /// Nodes of the shortest text of the term and of its negation, as writer.h writes them.
  std::array<int64_t, 2> cost = {1, 1};
};

/// Thrown where rewriting would cost more than it is worth, or the result would be too deep.
struct GiveUp {};

class Terms {
 public:
  Terms() : terms_(1) {}
  Terms(const Terms&) = delete;
  Terms& operator=(const Terms&) = delete;

  // References stay valid while terms are added.
  const Term& operator[](Literal literal) const { return terms_[literal.term()]; }
  int64_t cost(Literal literal) const { return (*this)[literal].cost[literal.negated() ? 1 : 0]; }

  /// A set of one of the three kinds of line, or a constant.
  Literal Set(Kind kind, const LineSet& set);
  /// What Set was given.
  LineSet SetOf(Literal literal) const { return {literal.negated(), terms_[literal.term()].flips}; }
  /// A mask of a kind that is no set, constant or operator.
  Literal Leaf(const Mask& leaf);
  /// Two or more parts as Term describes them, in any order.
  Literal And(std::vector<Literal> parts) { return Operator(Kind::kAnd, std::move(parts)); }
  Literal Xor(std::vector<Literal> parts) { return Operator(Kind::kXor, std::move(parts)); }
  /// `mask` at the positions numbered `order`.
  Literal Reorder(Literal mask, uint32_t order);

  /// The number of these positions, the same for equal ones asked in the same domain, however they
  /// are written.
  uint32_t OrderOf(const node::Reorder& reorder, uint32_t domain);
  const node::Reorder& Order(uint32_t order) const { return orders_[order].reorder; }

  /// A total order that does not depend on addresses (but for functions of one name: those follow
  /// their first appearance). Negative, 0 or positive; 0 means equal.
  int Compare(Literal a, Literal b) const;
  void Sort(std::vector<Literal>* literals) const;

  /// Counts steps; throws GiveUp when there were too many.
  void Spend(int64_t steps);

 private:
  struct LeafLess {
    bool operator()(const Term& a, const Term& b) const { return CompareLeaves(a, b) < 0; }
  };
  static int CompareLeaves(const Term& x, const Term& y);

  Literal Intern(Term term);
  Literal Operator(Kind kind, std::vector<Literal> parts);
  void SetCost(Term* term) const;
  size_t FunctionNumber(const std::shared_ptr<const CustomFunction>& function);

  std::deque<Term> terms_;  // The first is kTrue.
  std::unordered_multimap<size_t, uint32_t> by_hash_;
  std::map<Term, uint32_t, LeafLess> leaves_;
  std::vector<std::shared_ptr<const CustomFunction>> functions_;
  // Positions, and the number of the domain in which a reordering of one axis is asked.
  struct PlacedOrder {
    node::Reorder reorder;
    uint32_t domain;
  };
  int CompareOrdersOf(uint32_t a, uint32_t b) const;

  std::deque<PlacedOrder> orders_;
  int64_t steps_ = 0;
};

}  // namespace splashmask::simplify
