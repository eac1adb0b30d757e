// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where all of several masks are true, in normal form. Private to the project.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/masks/simplify/domain.h"
#include "splashmask/masks/simplify/line_set.h"
#include "splashmask/masks/simplify/rewriter.h"
#include "splashmask/masks/simplify/terms.h"

namespace splashmask::simplify {

/// A chunked_causal, stride or documents leaf, or its negation, among the parts of a conjunction.
struct SignedLeaf {
  Mask mask;
  bool negated = false;
  size_t at = 0;
};

/// Each step makes the list of parts shorter or its sets simpler without changing what it says as a
/// whole, until no step finds anything.
class Conjunction {
 public:
  Conjunction(Rewriter& rewriter, uint32_t domain)
      : rewriter_(rewriter),
        terms_(rewriter.terms()),
        domain_number_(domain),
        domain_(rewriter.domain(domain)) {}

  Literal Make(std::vector<Literal> parts);

 private:
  enum class Step : uint8_t { kNothing, kChanged, kContradiction };

  // One set of each kind, and the other parts without repeats, sorted by code.
  Step Gather(const std::vector<Literal>& parts);
  // The first of the following that finds anything.
  Step TakeStep();
  // stride with stride, documents with documents.
  Step IntersectLeaves();
  // Leaves that other leaves imply or exclude.
  Step RelateLeaves();
  // Leaves as they are where the sets are.
  Step NarrowLeaves();
  // Sets as they are where the other sets and the leaves are.
  Step NarrowSets();
  Step JoinReorders();
  // What the other parts decide inside an `or`.
  Step DecideClauses();
  // An `or` whose operands another one has, too.
  Step DropWeakerClauses();
  // (a | b) & (a | c) is a | (b & c).
  Step FactorClauses();

  bool Implied(Literal literal, int depth) const;
  bool LeafImplied(Literal literal) const;
  Domain Box() const;
  // Of others_; none where there are too many for pairs of them to be compared.
  std::vector<SignedLeaf> AnalyticLeaves() const;
  std::vector<Literal> Parts() const;
  std::vector<size_t> Clauses() const;
  // The parts of the `and` that a clause negates, sorted by code.
  std::vector<Literal> SortedParts(Literal clause) const;

  Rewriter& rewriter_;
  Terms& terms_;
  const uint32_t domain_number_;
  const Domain domain_;
  std::array<LineSet, 3> sets_ = {LineSet(true), LineSet(true), LineSet(true)};
  std::vector<Literal> others_;
  // While clauses are decided: where the other parts are, and the leaves among them.
  Domain box_ = {};
  std::vector<SignedLeaf> leaves_;
};

}  // namespace splashmask::simplify
