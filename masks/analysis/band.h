// SPDX-License-Identifier: Apache-2.0
#pragma once
// Masks whose every row sees one interval of kv positions, with both ends non-decreasing in q:
// causal, local, chunked_causal, prefix, kv_range, documents. Private to the project.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "splashmask/masks/analysis/analysis.h"

namespace splashmask {

/// Holds any sum of a few 64-bit integers.
__extension__ typedef __int128 Wide;

inline int64_t ClampWide(Wide value, Wide lowest, Wide highest) {
  return static_cast<int64_t>(value < lowest ? lowest : value > highest ? highest : value);
}

/// value mod step, never negative; step >= 1.
inline int64_t FloorMod(int64_t value, int64_t step) {
  const int64_t remainder = value % step;
  return remainder < 0 ? remainder + step : remainder;
}

/// True when the positions between the first and the last row are all rows.
inline bool NoGaps(const Rows& rows) {
  return rows.count == 1 || (rows.step >= -1 && rows.step <= 1);
}

/// True when differences with a kv position cannot overflow; keys need that.
inline bool ModestPositions(const Rows& rows) {
  constexpr int64_t kLimit = int64_t{1} << 61;
  return rows.min() >= -kLimit && rows.max() <= kLimit;
}

/// Starts a key: 0 for an empty rectangle, 1 for a full one, which then is the whole key (returns
/// true); otherwise 2.
inline bool AppendUniform(RectClass known, RectKey* key) {
  const bool uniform = IsUniform(known);
  key->push_back(!uniform ? 2 : known == RectClass::kFull ? 1 : 0);
  return uniform;
}

/// What a band may know besides Lo and Hi: rows outside [first_row, last_row] see nothing.
struct BandBounds {
  /// Whether all rows q of [Lo(q), Hi(q)) see the same run as q does.
  static constexpr bool kRunsAreSquares = false;
  int64_t first_row = std::numeric_limits<int64_t>::min();
  int64_t last_row = std::numeric_limits<int64_t>::max();
};

/// `Bounds` derives from BandBounds and has
///   Lo(q), Hi(q): row q sees [Lo, Hi), both clamped to the domain of kv and non-decreasing. From
///     first_row to last_row every interval holds a position before it is clamped, unless both are
///     where the domain begins for every row;
///   AppendKey(rows, kv, key): as Analysis::AppendKey, for a rectangle neither empty nor full, with
///     modest positions.
template <typename Bounds>
class BandAnalysis final : public Analysis {
 public:
  BandAnalysis(Shape shape, Bounds bounds) : Analysis(shape), bounds_(std::move(bounds)) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    const int64_t low = rows.min();
    const int64_t high = rows.max();
    if (bounds_.Lo(high) <= kv.begin && bounds_.Hi(low) >= kv.end && low >= bounds_.first_row &&
        high <= bounds_.last_row) {
      return RectClass::kFull;
    }
    const int64_t first = std::max(low, bounds_.first_row);
    const int64_t last = std::min(high, bounds_.last_row);
    if (first > last || bounds_.Hi(last) <= kv.begin || bounds_.Lo(first) >= kv.end) {
      return RectClass::kEmpty;
    }
    // The rows below the band's upper edge and those above its lower edge are two ranges of q that
    // meet; without gaps between the rows one of them lies where they do.
    if (Sees(low, kv) || Sees(high, kv)) return RectClass::kPartial;
    return NoGaps(rows) ? RectClass::kPartial : RectClass::kUnknown;
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t, int64_t tile_columns) const override {
    if (IsUniform(Classify(rows, kv))) return true;
    // One column of tiles, and every row sees the same of it.
    const auto clamp = [&](int64_t edge) { return std::clamp(edge, kv.begin, kv.end); };
    const int64_t low = rows.min(), high = rows.max();
    return kv.size() == tile_columns && low >= bounds_.first_row && high <= bounds_.last_row &&
           clamp(bounds_.Lo(low)) == clamp(bounds_.Lo(high)) &&
           clamp(bounds_.Hi(low)) == clamp(bounds_.Hi(high));
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (AppendUniform(Classify(rows, kv), key)) return true;
    return ModestPositions(rows) && bounds_.AppendKey(rows, kv, key);
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    const int64_t begin = std::max(bounds_.Lo(q), kv.begin);
    const int64_t end = std::min(bounds_.Hi(q), kv.end);
    if (begin < end) runs->push_back({begin, end});
  }

  double RunsPerRow() const override { return 1; }

  bool HasIntervals() const override { return true; }

  void ReadIntervals(std::span<const int64_t> q, KvRange kv, int64_t* begins,
                     int64_t* ends) const override {
    int64_t lo = 0, hi = 0;
    for (size_t r = 0; r < q.size(); ++r) {
      if (!Bounds::kRunsAreSquares || q[r] < lo || q[r] >= hi) {
        lo = bounds_.Lo(q[r]);
        hi = bounds_.Hi(q[r]);
      }
      begins[r] = std::clamp(lo, kv.begin, kv.end) - kv.begin;
      ends[r] = std::clamp(hi, kv.begin, kv.end) - kv.begin;
    }
  }

 private:
  bool Sees(int64_t q, KvRange kv) const {
    return std::max(bounds_.Lo(q), kv.begin) < std::min(bounds_.Hi(q), kv.end);
  }

  Bounds bounds_;
};

}  // namespace splashmask
