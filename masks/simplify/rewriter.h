// SPDX-License-Identifier: Apache-2.0
#pragma once
// Operators on normal forms. Private to the project.

#include <cstdint>
#include <deque>
#include <unordered_map>
#include <utility>
#include <vector>

#include "splashmask/masks/mask.h"
#include "splashmask/masks/simplify/domain.h"
#include "splashmask/masks/simplify/terms.h"
#include "splashmask/masks/simplify/writer.h"

namespace splashmask::simplify {

/// Literals that a Rewriter makes are in normal form over a domain. Domains have numbers: 0 is the
/// shape's, order + 1 that of what a reordering reorders.
class Rewriter {
 public:
  explicit Rewriter(Shape shape) : shape_(shape), domains_{Domain::Of(shape)} {}

  Rewriter(const Rewriter&) = delete;
  Rewriter& operator=(const Rewriter&) = delete;

  /// The normal form of a mask over its shape, as a mask.
  Mask Run(const Mask& mask) {
    const Literal literal = Normalize(mask, 0);
    return Writer(terms_, domains_, shape_).Write(literal, 0);
  }

  Terms& terms() { return terms_; }
  const Domain& domain(uint32_t number) const { return domains_[number]; }

  /// The normal form of an expression.
  Literal Normalize(const Mask& mask, uint32_t domain);
  /// True where all of `parts` are.
  Literal And(std::vector<Literal> parts, uint32_t domain);
  /// True where an odd number of `parts` are.
  Literal Xor(std::vector<Literal> parts, uint32_t domain);
  /// `mask`, in normal form over what that order reorders, at its positions.
  Literal Reorder(Literal mask, uint32_t order, uint32_t domain);

  /// Replaces parts of an `and`, or of an `xor`, with the same positions by one, and moves a set of
  /// columns that has but one other part beside it, a reordering, below that. Whether it did.
  bool JoinReorders(std::vector<Literal>* parts, bool is_xor, uint32_t domain);

 private:
  Literal NormalizeReorder(const node::Reorder& reorder, uint32_t domain);
  Literal NormalizeXor(const Mask& mask, uint32_t domain);
  Literal NormalizeAnd(const Mask& mask, bool negated, uint32_t domain);
  uint32_t OrderOf(const node::Reorder& reorder, uint32_t domain);

  const Shape shape_;
  Terms terms_;
  std::deque<Domain> domains_;
  struct Key {
    const MaskNode* node;
    uint32_t domain;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct HashKey {
    size_t operator()(const Key& key) const {
      return std::hash<const void*>()(key.node) * 31 + key.domain;
    }
  };
  std::unordered_map<Key, Literal, HashKey> known_;
  std::vector<Mask> kept_;  // What known_ points to, and is not part of the input.
};

}  // namespace splashmask::simplify
