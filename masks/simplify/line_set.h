// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sets of integers on a line, closed under every operator: what a band is in kv - q, a q_range in q
// and a kv_range in kv. Private to the project.

#include <cstdint>
#include <utility>
#include <vector>

namespace splashmask::simplify {

/// Holds any sum of a few 64-bit integers.
__extension__ typedef __int128 Wide;

/// Integers from first to last, both included; none when last < first.
struct Interval {
  Wide first, last;

  bool empty() const { return last < first; }
  Interval operator&(const Interval& other) const {
    return {first > other.first ? first : other.first, last < other.last ? last : other.last};
  }
  /// Whether `other`, which is not empty, lies inside.
  bool Contains(const Interval& other) const { return first <= other.first && other.last <= last; }
  friend bool operator==(const Interval&, const Interval&) = default;
};

class LineSet {
 public:
  /// Everything, or nothing.
  explicit LineSet(bool everything) : starts_(everything) {}
  /// Membership far to the left, and the integers where it flips, increasing.
  LineSet(bool starts, std::vector<Wide> flips) : starts_(starts), flips_(std::move(flips)) {}

  static LineSet Below(Wide end) { return {true, {end}}; }
  static LineSet From(Wide begin) { return {false, {begin}}; }
  /// [begin, end)
  static LineSet Between(Wide begin, Wide end);

  bool starts() const { return starts_; }
  const std::vector<Wide>& flips() const { return flips_; }
  bool IsAll() const { return starts_ && flips_.empty(); }
  bool IsNone() const { return !starts_ && flips_.empty(); }

  LineSet Complement() const { return {!starts_, flips_}; }
  /// The set that agrees with this one in `seen`, which is not empty, with the fewest flips.
  LineSet Clip(const Interval& seen) const;
  /// The smallest interval that holds all of the set that lies in `seen`.
  Interval Hull(const Interval& seen) const;
  /// Maximal intervals in order; the ends of the line are those of `seen`, in which the flips lie.
  std::vector<Interval> Pieces(const Interval& seen) const;

  /// The integers where `op` of the two memberships holds. O(flips).
  static LineSet Combine(const LineSet& a, const LineSet& b, bool (*op)(bool, bool));
  /// Of all of `sets`, by halves; `op` of nothing is `nothing`.
  static LineSet CombineAll(const std::vector<LineSet>& sets, bool (*op)(bool, bool), bool nothing);

  friend bool operator==(const LineSet&, const LineSet&) = default;

 private:
  bool starts_;
  std::vector<Wide> flips_;
};

}  // namespace splashmask::simplify
