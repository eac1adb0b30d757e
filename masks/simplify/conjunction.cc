// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/conjunction.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "splashmask/masks/simplify/leaves.h"

namespace splashmask::simplify {

namespace {

constexpr Kind kSetKinds[] = {Kind::kDiagonals, Kind::kRows, Kind::kColumns};
// Pairs of more leaves, and of more clauses, are not compared.
constexpr size_t kMostLeaves = 64, kMostClauses = 32;

bool ByCode(Literal a, Literal b) { return a.code() < b.code(); }
bool Both(bool a, bool b) { return a && b; }

std::optional<size_t> SetIndex(Kind kind) {
  const auto found = std::ranges::find(kSetKinds, kind);
  if (found == std::end(kSetKinds)) return std::nullopt;
  return static_cast<size_t>(found - std::begin(kSetKinds));
}

// nullopt for what an array or a function decides.
std::optional<SignedLeaf> AsAnalyticLeaf(const Terms& terms, Literal literal) {
  const Term& term = terms[literal];
  if (term.kind != Kind::kLeaf) return std::nullopt;
  const MaskExpr& expr = term.leaf->node().expr;
  const auto* stride = std::get_if<node::Stride>(&expr);
  if (stride != nullptr && stride->step == 2 && literal.negated()) {
    return SignedLeaf{Mask::Stride(term.leaf->shape(), 2, 1 - stride->phase), false};
  }
  if (stride == nullptr && !std::holds_alternative<node::ChunkedCausal>(expr) &&
      !std::holds_alternative<node::Documents>(expr)) {
    return std::nullopt;
  }
  return SignedLeaf{*term.leaf, literal.negated()};
}

}  // namespace

Literal Conjunction::Make(std::vector<Literal> parts) {
  Step step = Gather(parts);
  while (step == Step::kNothing) {
    step = TakeStep();
    if (step == Step::kNothing) break;
    if (step == Step::kChanged) step = Gather(Parts());
  }
  if (step == Step::kContradiction) return kFalse;
  parts = Parts();
  if (parts.empty()) return kTrue;
  return parts.size() == 1 ? parts.front() : terms_.And(std::move(parts));
}

Conjunction::Step Conjunction::TakeStep() {
  Step step = IntersectLeaves();
  if (step == Step::kNothing) step = RelateLeaves();
  if (step == Step::kNothing) step = NarrowLeaves();
  if (step == Step::kNothing) step = NarrowSets();
  if (step == Step::kNothing) step = JoinReorders();
  if (step == Step::kNothing) step = DecideClauses();
  if (step == Step::kNothing) step = DropWeakerClauses();
  if (step == Step::kNothing) step = FactorClauses();
  return step;
}

Conjunction::Step Conjunction::Gather(const std::vector<Literal>& parts) {
  std::array<std::vector<LineSet>, 3> sets;
  std::vector<Literal> others;
  bool contradiction = false;
  const auto add = [&](Literal part) {
    const std::optional<size_t> set = SetIndex(terms_[part].kind);
    if (part == kFalse) contradiction = true;
    if (set) sets[*set].push_back(terms_.SetOf(part));
    if (!set && part.term() != kTrue.term()) others.push_back(part);
  };
  for (const Literal part : parts) {
    const Term& term = terms_[part];
    if (term.kind == Kind::kAnd && !part.negated()) {
      std::ranges::for_each(term.parts, add);
    } else {
      add(part);
    }
  }
  terms_.Spend(std::ssize(parts) + std::ssize(others));
  for (size_t i = 0; i < std::size(kSetKinds); ++i) {
    sets_[i] = LineSet::CombineAll(sets[i], Both, true).Clip(domain_.Line(kSetKinds[i]));
    contradiction |= sets_[i].IsNone();
  }
  std::ranges::sort(others, ByCode);
  others.erase(std::unique(others.begin(), others.end()), others.end());
  const auto opposite =
      std::ranges::adjacent_find(others, [](Literal a, Literal b) { return a.term() == b.term(); });
  contradiction |= opposite != others.end();
  others_ = std::move(others);
  return contradiction ? Step::kContradiction : Step::kNothing;
}

Conjunction::Step Conjunction::IntersectLeaves() {
  // Of each of the two kinds, by its index among the expressions, the one so far.
  std::optional<SignedLeaf> first[2];
  size_t at[2] = {};
  for (size_t i = 0; i < others_.size(); ++i) {
    std::optional<SignedLeaf> leaf = AsAnalyticLeaf(terms_, others_[i]);
    if (!leaf || leaf->negated ||
        std::holds_alternative<node::ChunkedCausal>(leaf->mask.node().expr)) {
      continue;
    }
    const size_t kind = std::holds_alternative<node::Stride>(leaf->mask.node().expr) ? 0 : 1;
    if (!first[kind]) {
      first[kind] = std::move(leaf);
      at[kind] = i;
      continue;
    }
    const std::optional<Literal> both =
        simplify::IntersectLeaves(terms_, first[kind]->mask, leaf->mask, domain_);
    if (!both) continue;
    others_[i] = *both;
    others_[at[kind]] = kTrue;
    // The rest meets the result, or, if that is no leaf, waits for the next round.
    first[kind] = AsAnalyticLeaf(terms_, *both);
    at[kind] = i;
    if (!first[kind]) return Step::kChanged;
  }
  return std::ranges::count(others_, kTrue) > 0 ? Step::kChanged : Step::kNothing;
}

std::vector<SignedLeaf> Conjunction::AnalyticLeaves() const {
  std::vector<SignedLeaf> leaves;
  for (size_t i = 0; i < others_.size(); ++i) {
    std::optional<SignedLeaf> leaf = AsAnalyticLeaf(terms_, others_[i]);
    if (!leaf) continue;
    if (leaves.size() == kMostLeaves) return {};
    leaves.push_back(*std::move(leaf));
    leaves.back().at = i;
  }
  return leaves;
}

Conjunction::Step Conjunction::RelateLeaves() {
  const std::vector<SignedLeaf> leaves = AnalyticLeaves();
  Step step = Step::kNothing;
  for (size_t i = 0; i < leaves.size(); ++i) {
    for (size_t j = 0; j < leaves.size(); ++j) {
      if (i == j || others_[leaves[i].at] == kTrue || others_[leaves[j].at] == kTrue) continue;
      if (leaves[i].negated && !leaves[j].negated) continue;  // As (j, i).
      const Relation relation = RelationOf(terms_, leaves[i].mask, leaves[j].mask);
      const bool opposed = leaves[i].negated != leaves[j].negated;
      if (opposed ? relation.implies : relation.disjoint && !leaves[i].negated) {
        return Step::kContradiction;
      }
      if (opposed ? !relation.disjoint : !relation.implies) continue;
      others_[leaves[i].negated ? leaves[i].at : leaves[j].at] = kTrue;
      step = Step::kChanged;
    }
  }
  return step;
}

Domain Conjunction::Box() const {
  Domain box = domain_;
  box.d = sets_[0].Hull(box.d);
  box.q = sets_[1].Hull(box.q);
  box.kv = sets_[2].Hull(box.kv);
  return box.Tightened();
}

Conjunction::Step Conjunction::NarrowLeaves() {
  const Domain box = Box();
  if (box.empty()) return Step::kContradiction;
  if (box == domain_) return Step::kNothing;
  Step step = Step::kNothing;
  const Interval diagonal{0, 0};
  for (size_t i = 0; i < others_.size(); ++i) {
    const std::optional<SignedLeaf> leaf = AsAnalyticLeaf(terms_, others_[i]);
    if (!leaf) continue;
    Literal narrow = NormalLeaf(terms_, leaf->mask, box) ^ leaf->negated;
    if (!leaf->negated) {
      const Domain outer = BoxOf(leaf->mask, domain_);
      if ((box & outer).Tightened().empty()) return Step::kContradiction;
      Domain seen = box;
      seen.d = box.d & outer.d;
      if (seen.d == diagonal && box.d != diagonal) {
        // Nothing but the diagonal is left of the leaf and what stands beside it.
        narrow = NormalLeaf(terms_, leaf->mask, seen);
        others_.push_back(terms_.Set(Kind::kDiagonals, LineSet::Between(0, 1)));
      }
    }
    if (narrow == others_[i]) continue;
    others_[i] = narrow;
    step = Step::kChanged;
  }
  return step;
}

Conjunction::Step Conjunction::NarrowSets() {
  if (std::ranges::all_of(sets_, &LineSet::IsAll)) return Step::kNothing;
  Domain outer = domain_;
  for (const Literal part : others_) {
    const std::optional<SignedLeaf> leaf = AsAnalyticLeaf(terms_, part);
    if (leaf && !leaf->negated) outer = outer & BoxOf(leaf->mask, domain_);
  }
  outer = outer.Tightened();
  if (outer.empty()) return Step::kContradiction;
  Step step = Step::kNothing;
  // One after the other: a set that another one made superfluous justifies nothing any more.
  for (size_t i = 0; i < std::size(kSetKinds); ++i) {
    Domain seen = outer;
    if (i != 0) seen.d = sets_[0].Hull(seen.d);
    if (i != 1) seen.q = sets_[1].Hull(seen.q);
    if (i != 2) seen.kv = sets_[2].Hull(seen.kv);
    if (seen.empty()) return Step::kContradiction;
    const Interval line = i == 0   ? seen.DiagonalsSeen()
                          : i == 1 ? seen.RowsSeen()
                                   : seen.ColumnsSeen();
    if (line.empty()) return Step::kContradiction;
    LineSet narrow = sets_[i].Clip(line);
    if (narrow.IsNone()) return Step::kContradiction;
    if (narrow == sets_[i]) continue;
    sets_[i] = std::move(narrow);
    step = Step::kChanged;
  }
  return step;
}

Conjunction::Step Conjunction::JoinReorders() {
  std::vector<Literal> parts = Parts();
  if (!rewriter_.JoinReorders(&parts, false, domain_number_)) return Step::kNothing;
  return Gather(parts) == Step::kContradiction ? Step::kContradiction : Step::kChanged;
}

bool Conjunction::LeafImplied(Literal literal) const {
  const std::optional<SignedLeaf> leaf = AsAnalyticLeaf(terms_, literal);
  if (!leaf) return false;
  if ((NormalLeaf(terms_, leaf->mask, box_) ^ leaf->negated) == kTrue) return true;
  return std::ranges::any_of(leaves_, [&](const SignedLeaf& other) {
    if (other.negated) {
      return leaf->negated && RelationOf(terms_, leaf->mask, other.mask).implies;
    }
    const Relation relation = RelationOf(terms_, other.mask, leaf->mask);
    return leaf->negated ? relation.disjoint : relation.implies;
  });
}

bool Conjunction::Implied(Literal literal, int depth) const {
  constexpr int kDeepest = 2;
  if (literal == kTrue || std::ranges::binary_search(others_, literal, ByCode)) return true;
  const Term& term = terms_[literal];
  if (const std::optional<size_t> set = SetIndex(term.kind)) {
    const Interval& line = box_.Line(term.kind);
    const LineSet seen = terms_.SetOf(literal).Clip(line);
    terms_.Spend(std::ssize(seen.flips()) + std::ssize(sets_[*set].flips()));
    return seen.IsAll() ||
           LineSet::Combine(sets_[*set].Clip(line), seen.Complement(), Both).IsNone();
  }
  if (term.kind == Kind::kLeaf) return LeafImplied(literal);
  if (term.kind != Kind::kAnd || depth == kDeepest) return false;
  terms_.Spend(std::ssize(term.parts));
  const bool negated = literal.negated();
  const auto implied = [&](Literal part) { return Implied(part ^ negated, depth + 1); };
  return negated ? std::ranges::any_of(term.parts, implied)
                 : std::ranges::all_of(term.parts, implied);
}

std::vector<size_t> Conjunction::Clauses() const {
  std::vector<size_t> clauses;
  for (size_t i = 0; i < others_.size(); ++i) {
    if (terms_[others_[i]].kind == Kind::kAnd) clauses.push_back(i);
  }
  return clauses;
}

Conjunction::Step Conjunction::DecideClauses() {
  const std::vector<size_t> clauses = Clauses();
  if (clauses.empty()) return Step::kNothing;
  box_ = Box();
  leaves_ = AnalyticLeaves();
  // Others_ stays as it is until all are decided; a clause relies only on parts that are smaller
  // than itself, so that no two rely on each other.
  std::vector<std::pair<size_t, Literal>> decided;
  for (const size_t at : clauses) {
    const Literal clause = others_[at];
    // The clause is true where one of these is false.
    const std::vector<Literal>& parts = terms_[clause].parts;
    terms_.Spend(std::ssize(parts));
    if (std::ranges::any_of(parts, [&](Literal part) { return Implied(~part, 0); })) {
      decided.emplace_back(at, kTrue);
      continue;
    }
    std::vector<Literal> open;
    std::ranges::copy_if(parts, std::back_inserter(open),
                         [&](Literal part) { return !Implied(part, 0); });
    if (open.empty()) return Step::kContradiction;
    if (open.size() == parts.size()) continue;
    decided.emplace_back(at, ~rewriter_.And(std::move(open), domain_number_));
  }
  for (const auto& [at, literal] : decided) others_[at] = literal;
  return decided.empty() ? Step::kNothing : Step::kChanged;
}

std::vector<Literal> Conjunction::SortedParts(Literal clause) const {
  std::vector<Literal> parts = terms_[clause].parts;
  terms_.Spend(std::ssize(parts));
  std::ranges::sort(parts, ByCode);
  return parts;
}

Conjunction::Step Conjunction::DropWeakerClauses() {
  const std::vector<size_t> clauses = Clauses();
  if (clauses.size() < 2 || clauses.size() > kMostClauses) return Step::kNothing;
  std::vector<std::vector<Literal>> parts;
  for (const size_t at : clauses) parts.push_back(SortedParts(others_[at]));
  Step step = Step::kNothing;
  for (size_t i = 0; i < clauses.size(); ++i) {
    for (size_t j = 0; j < clauses.size(); ++j) {
      if (i == j || others_[clauses[i]] == kTrue) continue;
      if (!std::ranges::includes(parts[j], parts[i], ByCode)) continue;
      others_[clauses[j]] = kTrue;
      step = Step::kChanged;
    }
  }
  return step;
}

Conjunction::Step Conjunction::FactorClauses() {
  const std::vector<size_t> clauses = Clauses();
  if (clauses.size() < 2) return Step::kNothing;
  std::vector<Literal> common = SortedParts(others_[clauses[0]]);
  for (const size_t at : clauses) {
    const std::vector<Literal> parts = SortedParts(others_[at]);
    std::vector<Literal> kept;
    std::ranges::set_intersection(common, parts, std::back_inserter(kept), ByCode);
    common = std::move(kept);
    if (common.empty()) return Step::kNothing;
  }
  std::vector<Literal> rests;
  for (const size_t at : clauses) {
    std::vector<Literal> rest;
    std::ranges::set_difference(SortedParts(others_[at]), common, std::back_inserter(rest), ByCode);
    rests.push_back(~rewriter_.And(std::move(rest), domain_number_));
    others_[at] = kTrue;
  }
  std::vector<Literal> parts = std::move(common);
  parts.push_back(~rewriter_.And(std::move(rests), domain_number_));
  others_[clauses[0]] = ~rewriter_.And(std::move(parts), domain_number_);
  return Step::kChanged;
}

std::vector<Literal> Conjunction::Parts() const {
  std::vector<Literal> parts;
  for (size_t i = 0; i < std::size(kSetKinds); ++i) {
    const Literal set = terms_.Set(kSetKinds[i], sets_[i]);
    if (set != kTrue) parts.push_back(set);
  }
  parts.insert(parts.end(), others_.begin(), others_.end());
  return parts;
}

}  // namespace splashmask::simplify
