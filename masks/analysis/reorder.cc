// SPDX-License-Identifier: Apache-2.0
// Rows evaluated at other positions. Positions are cut into segments of constant step; a piecewise
// contiguous or strided order keeps exact classes and keys, a scattered one is left to runs.

#include <algorithm>
#include <utility>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/range_min_max.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// Rows [begin, next segment's begin) lie at first, first + step, ...
struct Segment {
  int64_t begin;
  int64_t first;
  int64_t step;
};

// More segments than this in one rectangle are not looked at one by one.
constexpr int64_t kMostSegments = 16;

// Steps are taken between modest positions alone, so that no sum of them overflows.
bool IsModest(int64_t position) { return ModestPositions({position, 1, 1}); }

class ReorderAnalysis final : public Analysis {
 public:
  ReorderAnalysis(Shape shape, const node::Reorder& n)
      : Analysis(shape),
        child_(Analyze(n.mask)),
        positions_(n.q_positions.ToInt64()),
        bounds_(positions_) {
    const int64_t count = static_cast<int64_t>(positions_.size());
    segment_of_.reserve(positions_.size());
    for (int64_t row = 0; row < count; ++row) {
      if (!segments_.empty() && Continues(row)) {
        segments_.back().step = positions_[row] - positions_[row - 1];
      } else {
        segments_.push_back({row, positions_[row], 1});
      }
      segment_of_.push_back(static_cast<int32_t>(segments_.size() - 1));
    }
    segments_.push_back({count, 0, 1});
  }

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    if (!IsShort(rows)) return ClassifyBounds(rows, kv);
    bool any_empty = false, any_full = false, any_unknown = false;
    for (int64_t row = rows.first; row <= rows.last();) {
      const Rows part = Part(row, rows.last());
      row += part.count;
      switch (child_->Classify(part, kv)) {
        case RectClass::kPartial:
          return RectClass::kPartial;
        case RectClass::kEmpty:
          any_empty = true;
          break;
        case RectClass::kFull:
          any_full = true;
          break;
        case RectClass::kUnknown:
          any_unknown = true;
          break;
      }
    }
    if (any_empty && any_full) return RectClass::kPartial;
    if (any_unknown) return RectClass::kUnknown;
    return any_full ? RectClass::kFull : RectClass::kEmpty;
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows,
               int64_t tile_columns) const override {
    const bool one_part = IsShort(rows) && SegmentsIn(rows.min(), rows.max()) == 1;
    return one_part ? child_->Repeats(Part(rows.first, rows.last()), kv, tile_rows, tile_columns)
                    : IsUniform(Classify(rows, kv));
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (!IsShort(rows)) return AppendUniform(Classify(rows, kv), key);
    key->push_back(SegmentsIn(rows.first, rows.last()));
    for (int64_t row = rows.first; row <= rows.last();) {
      const Rows part = Part(row, rows.last());
      row += part.count;
      key->push_back(part.count);
      key->push_back(part.step);
      if (!child_->AppendKey(part, kv, key)) return false;
    }
    return true;
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    child_->ReadRuns(positions_[q], kv, runs);
  }

  double RunsPerRow() const override { return child_->RunsPerRow(); }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    std::vector<int64_t> mapped(q.size());
    std::transform(q.begin(), q.end(), mapped.begin(),
                   [this](int64_t row) { return positions_[row]; });
    child_->Draw(mapped, kv, out);
  }

  int64_t DrawWidth() const override { return child_->DrawWidth(); }

  bool Scattered(int64_t begin, int64_t end) const override {
    return SegmentsIn(begin, end - 1) > kMostSegments;
  }

 private:
  // Whether row `row` goes on with the step of the last segment, or gives a new segment its step.
  bool Continues(int64_t row) const {
    if (!IsModest(positions_[row]) || !IsModest(positions_[row - 1])) return false;
    const Segment& segment = segments_.back();
    return row - segment.begin == 1 || positions_[row] - positions_[row - 1] == segment.step;
  }

  int64_t SegmentsIn(int64_t first_row, int64_t last_row) const {
    return segment_of_[last_row] - segment_of_[first_row] + 1;
  }

  bool IsShort(const Rows& rows) const {
    return (rows.count == 1 || rows.step == 1) &&
           SegmentsIn(rows.min(), rows.max()) <= kMostSegments;
  }

  // The positions of the rows from `row` to the end of its segment, or to `last` if that is nearer.
  Rows Part(int64_t row, int64_t last) const {
    const Segment& segment = segments_[segment_of_[row]];
    const int64_t end = std::min(last + 1, segments_[segment_of_[row] + 1].begin);
    return {positions_[row], end - row, end - row == 1 ? 1 : segment.step};
  }

  RectClass ClassifyBounds(const Rows& rows, KvRange kv) const {
    const auto bounds = bounds_.Query(rows.min(), rows.max());
    if (!IsModest(bounds.min) || !IsModest(bounds.max)) return RectClass::kUnknown;
    const RectClass all = child_->Classify({bounds.min, bounds.max - bounds.min + 1, 1}, kv);
    return all == RectClass::kPartial ? RectClass::kUnknown : all;
  }

  std::unique_ptr<const Analysis> child_;
  std::vector<int64_t> positions_;
  RangeMinMax bounds_;
  std::vector<Segment> segments_;
  std::vector<int32_t> segment_of_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeReorder(const Mask& mask) {
  return std::make_unique<ReorderAnalysis>(mask.shape(), std::get<node::Reorder>(mask.node().expr));
}

}  // namespace splashmask
