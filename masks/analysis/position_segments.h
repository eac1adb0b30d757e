// SPDX-License-Identifier: Apache-2.0
#pragma once
// The positions of a reordered axis, cut into segments of constant step. Private to the project.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/range_min_max.h"

namespace splashmask {

class PositionSegments {
 public:
  /// More segments than this in one range of indices are not looked at one by one.
  static constexpr int64_t kMost = 16;

  explicit PositionSegments(const Array& positions) {
    std::array<int64_t, kStride> values;
    int64_t last = 0;
    for (int64_t begin = 0; begin < positions.size(); begin += kStride) {
      const int64_t count = std::min(kStride, positions.size() - begin);
      const std::span<const int64_t> piece(values.data(), static_cast<size_t>(count));
      positions.Read(begin, {values.data(), piece.size()});
      if (AllContinue(begin, last, piece)) {
        segment_at_.push_back(static_cast<int32_t>(segments_.size() - 1));
      } else {
        for (int64_t i = 0; i < count; ++i) {
          Append(begin + i, i == 0 ? last : piece[i - 1], piece[i]);
          if (i == 0) segment_at_.push_back(static_cast<int32_t>(segments_.size() - 1));
        }
      }
      last = piece.back();
    }
    segment_at_.push_back(static_cast<int32_t>(segments_.size() - 1));
    segments_.push_back({positions.size(), 0, 1});

    std::vector<RangeMinMax::MinMax> bounds;
    for (size_t segment = 0; segment + 1 < segments_.size(); ++segment) {
      bounds.push_back(BoundsOf(Part(segments_[segment].begin, size() - 1)));
    }
    bounds_.emplace(bounds);
  }

  int64_t operator[](int64_t index) const {
    const Segment& segment = segments_[SegmentOf(index)];
    return segment.first + (index - segment.begin) * segment.step;
  }
  int64_t size() const { return segments_.back().begin; }

  /// How many segments the indices first to last touch, both included.
  int64_t CountIn(int64_t first, int64_t last) const {
    return SegmentOf(last) - SegmentOf(first) + 1;
  }

  /// The positions from index `index` to the end of its segment, or to index `last` if that is
  /// nearer.
  Rows Part(int64_t index, int64_t last) const {
    const Segment* segment = &segments_[SegmentOf(index)];
    const int64_t end = std::min(last + 1, segment[1].begin);
    return {segment->first + (index - segment->begin) * segment->step, end - index,
            end - index == 1 ? 1 : segment->step};
  }

  /// The least and the greatest position of the indices first to last, both included.
  RangeMinMax::MinMax Bounds(int64_t first, int64_t last) const {
    RangeMinMax::MinMax bounds = BoundsOf(Part(first, last));
    const int32_t begin = SegmentOf(first), end = SegmentOf(last);
    if (begin == end) return bounds;
    bounds.Add(bounds_->Query(begin + 1, end - 1));
    bounds.Add(BoundsOf(Part(segments_[end].begin, last)));
    return bounds;
  }

  /// Steps are taken between modest positions alone, so that no sum of them overflows.
  static bool IsModest(int64_t position) { return ModestPositions({position, 1, 1}); }

 private:
  // Indices [begin, next segment's begin), at first, first + step, ...
  struct Segment {
    int64_t begin;
    int64_t first;
    int64_t step;
  };

  // The segments of every so many indices are kept.
  static constexpr int64_t kStride = 64;

  int32_t SegmentOf(int64_t index) const {
    const auto known = segment_at_.begin() + index / kStride;
    int32_t low = known[0], high = known[1];
    while (low < high) {
      const int32_t middle = low + (high - low + 1) / 2;
      if (segments_[middle].begin <= index) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  static RangeMinMax::MinMax BoundsOf(const Rows& part) { return {part.min(), part.max()}; }

  // Index `i` goes on with the step of the last segment, gives it its step, or begins another.
  void Append(int64_t i, int64_t last, int64_t position) {
    const bool is_next = i > 0 && IsModest(position) && IsModest(last);
    if (is_next && (i - segments_.back().begin == 1 || position - last == segments_.back().step)) {
      segments_.back().step = position - last;
    } else {
      segments_.push_back({i, position, 1});
    }
  }

  // Whether all of a piece goes on with the step of the last segment, which has one.
  bool AllContinue(int64_t begin, int64_t last, std::span<const int64_t> piece) const {
    if (begin == 0 || begin - segments_.back().begin < 2) return false;
    // Steps that do not wrap lead from one modest position to another over modest ones.
    const Wide steps = Wide{segments_.back().step} * std::ssize(piece);
    if (!IsModest(last) || !IsModest(piece.back()) || last + steps != piece.back()) return false;
    const auto step = static_cast<uint64_t>(segments_.back().step);
    uint64_t next = static_cast<uint64_t>(last), differences = 0;
    for (const int64_t position : piece) {
      next += step;
      differences |= static_cast<uint64_t>(position) ^ next;
    }
    return differences == 0;
  }

  std::vector<Segment> segments_;  // Then one that begins where the indices end.
  std::vector<int32_t> segment_at_;
  std::optional<RangeMinMax> bounds_;  // Of each segment.
};

/// The class of a rectangle from those of its parts.
class JoinedClass {
 public:
  void Add(RectClass part) {
    any_empty_ |= part == RectClass::kEmpty;
    any_full_ |= part == RectClass::kFull;
    any_partial_ |= part == RectClass::kPartial;
    any_unknown_ |= part == RectClass::kUnknown;
  }

  /// Whether no further part can change it.
  bool is_settled() const { return any_partial_ || (any_empty_ && any_full_); }

  RectClass get() const {
    if (is_settled()) return RectClass::kPartial;
    if (any_unknown_) return RectClass::kUnknown;
    return any_full_ ? RectClass::kFull : RectClass::kEmpty;
  }

 private:
  bool any_empty_ = false, any_full_ = false, any_partial_ = false, any_unknown_ = false;
};

}  // namespace splashmask
