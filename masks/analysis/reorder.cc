// SPDX-License-Identifier: Apache-2.0
// Rows evaluated at other positions. Positions are cut into segments of constant step; a piecewise
// contiguous or strided order keeps exact classes and keys, a scattered one is left to runs.

#include <algorithm>
#include <utility>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/position_segments.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

class QOrderAnalysis final : public Analysis {
 public:
  QOrderAnalysis(Shape shape, std::unique_ptr<const Analysis> child, const Array& positions)
      : Analysis(shape), child_(std::move(child)), positions_(positions) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    if (!IsShort(rows)) return ClassifyBounds(rows, kv);
    JoinedClass joined;
    for (int64_t row = rows.first; row <= rows.last() && !joined.is_settled();) {
      const Rows part = positions_.Part(row, rows.last());
      row += part.count;
      joined.Add(child_->Classify(part, kv));
    }
    return joined.get();
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows,
               int64_t tile_columns) const override {
    const bool one_part = IsShort(rows) && positions_.CountIn(rows.min(), rows.max()) == 1;
    if (!one_part) return IsUniform(Classify(rows, kv));
    return child_->Repeats(positions_.Part(rows.first, rows.last()), kv, tile_rows, tile_columns);
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (!IsShort(rows)) return AppendUniform(Classify(rows, kv), key);
    key->push_back(positions_.CountIn(rows.first, rows.last()));
    for (int64_t row = rows.first; row <= rows.last();) {
      const Rows part = positions_.Part(row, rows.last());
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
    child_->Draw(PositionsOf(q), kv, out);
  }

  bool DrawsStrided(KvRange span) const override { return child_->DrawsStrided(span); }
  void DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const override {
    child_->DrawStrided(PositionsOf(q), columns, out);
  }

  int64_t DrawWidth() const override { return child_->DrawWidth(); }

  bool Scattered(int64_t begin, int64_t end) const override {
    return positions_.CountIn(begin, end - 1) > PositionSegments::kMost;
  }

 private:
  std::vector<int64_t> PositionsOf(std::span<const int64_t> q) const {
    std::vector<int64_t> positions(q.size());
    std::transform(q.begin(), q.end(), positions.begin(),
                   [this](int64_t row) { return positions_[row]; });
    return positions;
  }

  bool IsShort(const Rows& rows) const {
    return (rows.count == 1 || rows.step == 1) &&
           positions_.CountIn(rows.min(), rows.max()) <= PositionSegments::kMost;
  }

  RectClass ClassifyBounds(const Rows& rows, KvRange kv) const {
    const auto bounds = positions_.Bounds(rows.min(), rows.max());
    if (!PositionSegments::IsModest(bounds.min) || !PositionSegments::IsModest(bounds.max)) {
      return RectClass::kUnknown;
    }
    const RectClass all = child_->Classify({bounds.min, bounds.max - bounds.min + 1, 1}, kv);
    return all == RectClass::kPartial ? RectClass::kUnknown : all;
  }

  std::unique_ptr<const Analysis> child_;
  PositionSegments positions_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeReorder(const Mask& mask, KvRange domain) {
  const auto& n = std::get<node::Reorder>(mask.node().expr);
  std::unique_ptr<const Analysis> columns =
      n.kv ? AnalyzeKvOrder(n.mask, n.kv->positions) : Analyze(n.mask, domain);
  if (!n.q) return columns;
  return std::make_unique<QOrderAnalysis>(mask.shape(), std::move(columns), n.q->positions);
}

}  // namespace splashmask
