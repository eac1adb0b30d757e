// SPDX-License-Identifier: Apache-2.0
// Where an odd number of masks are true, in normal form.

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/simplify/rewriter.h"

namespace splashmask::simplify {

namespace {

constexpr Kind kLines[] = {Kind::kDiagonals, Kind::kRows, Kind::kColumns};

bool BySign(Literal a, Literal b) { return a.code() < b.code(); }

class ExclusiveOr {
 public:
  ExclusiveOr(Rewriter& rewriter, uint32_t domain)
      : rewriter_(rewriter), terms_(rewriter.terms()), domain_(domain) {}

  Literal Make(std::vector<Literal> parts) {
    do {
      Gather(parts);
      parts = parts_;
    } while (rewriter_.JoinReorders(&parts, true, domain_));
    if (const std::optional<Literal> factored = Factor()) return *factored ^ negated_;
    if (parts_.empty()) return kFalse ^ negated_;
    return (parts_.size() == 1 ? parts_[0] : terms_.Xor(parts_)) ^ negated_;
  }

 private:
  // One set of each kind, none negated, no part twice; the rest is `negated_`.
  void Gather(const std::vector<Literal>& parts) {
    std::array<std::vector<LineSet>, 3> sets;
    std::vector<Literal> others;
    const auto add = [&](Literal part) {
      negated_ ^= part.negated() != (part.term() == kTrue.term());
      const auto line = std::ranges::find(kLines, terms_[part].kind);
      if (line != std::end(kLines)) {
        sets[line - std::begin(kLines)].push_back(terms_.SetOf(part ^ part.negated()));
      } else if (part.term() != kTrue.term()) {
        others.push_back(part ^ part.negated());
      }
    };
    for (const Literal part : parts) {
      const Term& term = terms_[part];
      if (term.kind == Kind::kXor) {
        negated_ ^= part.negated();
        std::ranges::for_each(term.parts, add);
      } else {
        add(part);
      }
    }
    terms_.Spend(std::ssize(parts) + std::ssize(others));
    std::ranges::sort(others, BySign);
    parts_.clear();
    for (const Literal part : others) {
      if (!parts_.empty() && parts_.back() == part) {
        parts_.pop_back();
      } else {
        parts_.push_back(part);
      }
    }
    for (size_t i = 0; i < sets.size(); ++i) {
      const LineSet set = LineSet::CombineAll(
                              sets[i], [](bool a, bool b) { return a != b; }, false)
                              .Clip(rewriter_.domain(domain_).Line(kLines[i]));
      const Literal literal = terms_.Set(kLines[i], set);
      negated_ ^= literal == kTrue || (literal.negated() && literal != kFalse);
      if (literal.term() != kTrue.term()) parts_.push_back(literal ^ literal.negated());
    }
  }

  // (a & b) ^ (a & c) is a & (b ^ c), where b, c or both may be nothing at all.
  std::optional<Literal> Factor() {
    if (parts_.size() < 2) return std::nullopt;
    std::optional<std::vector<Literal>> common;
    const auto keep = [&](const std::vector<Literal>& from) {
      std::vector<Literal> kept;
      if (common) {
        std::ranges::set_intersection(*common, from, std::back_inserter(kept), BySign);
      }
      common = common ? kept : from;
    };
    for (const Literal part : parts_) {
      if (terms_[part].kind == Kind::kAnd) keep(SortedParts(part));
      if (common && common->empty()) return std::nullopt;
    }
    if (!common) return std::nullopt;
    for (const Literal part : parts_) {
      if (terms_[part].kind != Kind::kAnd) keep({part, ~part});
    }
    if (common->empty()) return std::nullopt;

    std::vector<Literal> rests;
    for (const Literal part : parts_) {
      if (terms_[part].kind == Kind::kAnd) {
        std::vector<Literal> rest;
        std::ranges::set_difference(SortedParts(part), *common, std::back_inserter(rest), BySign);
        rests.push_back(rewriter_.And(std::move(rest), domain_));
      } else {
        // A part alone is the common one, as it is or negated.
        negated_ ^= part != common->front();
        rests.push_back(kTrue);
      }
    }
    common->push_back(rewriter_.Xor(std::move(rests), domain_));
    return rewriter_.And(*std::move(common), domain_);
  }

  std::vector<Literal> SortedParts(Literal part) const {
    std::vector<Literal> parts = terms_[part].parts;
    terms_.Spend(std::ssize(parts));
    std::ranges::sort(parts, BySign);
    return parts;
  }

  Rewriter& rewriter_;
  Terms& terms_;
  const uint32_t domain_;
  bool negated_ = false;
  std::vector<Literal> parts_;
};

}  // namespace

Literal Rewriter::Xor(std::vector<Literal> parts, uint32_t domain) {
  return ExclusiveOr(*this, domain).Make(std::move(parts));
}

}  // namespace splashmask::simplify
