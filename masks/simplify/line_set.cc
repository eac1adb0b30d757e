// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/line_set.h"

#include <algorithm>
#include <cstddef>
#include <span>

namespace splashmask::simplify {

namespace {

LineSet CombineHalves(std::span<const LineSet> sets, bool (*op)(bool, bool)) {
  if (sets.size() == 1) return sets.front();
  const size_t half = sets.size() / 2;
  return LineSet::Combine(CombineHalves(sets.first(half), op),
                          CombineHalves(sets.subspan(half), op), op);
}

}  // namespace

LineSet LineSet::Between(Wide begin, Wide end) {
  if (begin >= end) return LineSet(false);
  return {false, {begin, end}};
}

LineSet LineSet::Clip(const Interval& seen) const {
  // A flip at the first integer that is seen might as well be before it.
  const auto begin = std::upper_bound(flips_.begin(), flips_.end(), seen.first);
  const auto end = std::upper_bound(begin, flips_.end(), seen.last);
  const bool odd = (begin - flips_.begin()) % 2 == 1;
  return {starts_ != odd, std::vector<Wide>(begin, end)};
}

Interval LineSet::Hull(const Interval& seen) const {
  if (seen.empty()) return seen;
  const LineSet clipped = Clip(seen);
  if (clipped.IsNone()) return {0, -1};
  const bool ends = clipped.starts_ == (clipped.flips_.size() % 2 == 0);
  return {clipped.starts_ ? seen.first : clipped.flips_.front(),
          ends ? seen.last : clipped.flips_.back() - 1};
}

std::vector<Interval> LineSet::Pieces(const Interval& seen) const {
  std::vector<Interval> pieces;
  bool inside = starts_;
  Wide begin = seen.first;
  for (const Wide flip : flips_) {
    if (inside) pieces.push_back({begin, flip - 1});
    inside = !inside;
    begin = flip;
  }
  if (inside) pieces.push_back({begin, seen.last});
  return pieces;
}

LineSet LineSet::Combine(const LineSet& a, const LineSet& b, bool (*op)(bool, bool)) {
  bool in_a = a.starts_, in_b = b.starts_;
  bool now = op(in_a, in_b);
  LineSet result(now);
  result.flips_.reserve(a.flips_.size() + b.flips_.size());
  auto i = a.flips_.begin(), j = b.flips_.begin();
  while (i != a.flips_.end() || j != b.flips_.end()) {
    const Wide at = j == b.flips_.end() || (i != a.flips_.end() && *i < *j) ? *i : *j;
    if (i != a.flips_.end() && *i == at) in_a = !in_a, ++i;
    if (j != b.flips_.end() && *j == at) in_b = !in_b, ++j;
    if (op(in_a, in_b) == now) continue;
    result.flips_.push_back(at);
    now = !now;
  }
  return result;
}

LineSet LineSet::CombineAll(const std::vector<LineSet>& sets, bool (*op)(bool, bool),
                            bool nothing) {
  return sets.empty() ? LineSet(nothing) : CombineHalves(sets, op);
}

}  // namespace splashmask::simplify
