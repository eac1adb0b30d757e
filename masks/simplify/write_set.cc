// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/write_set.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace splashmask::simplify {

namespace {

constexpr Wide kLeast = std::numeric_limits<int64_t>::min();
constexpr Wide kMost = std::numeric_limits<int64_t>::max();

// The offset nearest to 0 with which local() reaches from begin to end, where they are bounds.
Mask WriteBand(std::optional<Wide> first, std::optional<Wide> last, Shape shape) {
  // offset - left is first and offset + right is last.
  Interval offset{kLeast, kMost};
  if (first) offset = offset & Interval{*first + kLeast, *first + kMost};
  if (last) offset = offset & Interval{*last - kMost, *last - kLeast};
  if (offset.empty()) {
    return WriteBand(first, std::nullopt, shape) & WriteBand(std::nullopt, last, shape);
  }
  const Wide nearest = std::clamp<Wide>(0, offset.first, offset.last);
  if (!first && nearest == 0) return Mask::Causal(shape, static_cast<int64_t>(*last));
  std::optional<int64_t> left, right;
  if (first) left = static_cast<int64_t>(nearest - *first);
  if (last) right = static_cast<int64_t>(*last - nearest);
  return Mask::Local(shape, left, right, static_cast<int64_t>(nearest));
}

Mask WriteRange(Kind kind, Wide begin, Wide end, Shape shape) {
  const auto low = static_cast<int64_t>(begin), high = static_cast<int64_t>(end);
  return kind == Kind::kRows ? Mask::QRange(shape, low, high) : Mask::KvRange(shape, low, high);
}

}  // namespace

Mask WritePiece(Kind kind, const Interval& piece, Shape shape, const Domain& domain) {
  const Interval& line = domain.Line(kind);
  const bool has_first = piece.first > line.first, has_last = piece.last < line.last;
  if (kind == Kind::kDiagonals) {
    return WriteBand(has_first ? std::optional(piece.first) : std::nullopt,
                     has_last ? std::optional(piece.last) : std::nullopt, shape);
  }
  if (kind == Kind::kColumns && !has_first) {
    return Mask::Prefix(shape, static_cast<int64_t>(piece.last + 1));
  }
  // A range ends before the last integer there is.
  if (piece.last == kMost) return ~WriteRange(kind, line.first, piece.first, shape);
  return WriteRange(kind, piece.first, piece.last + 1, shape);
}

}  // namespace splashmask::simplify
