// SPDX-License-Identifier: Apache-2.0
// Columns evaluated at other positions, cut into segments of constant step. Where columns follow
// one another, forwards or backwards, all answers of the mask are passed on; where they do not,
// those about the range that they span decide, if they can, and single cells if not.

#include <algorithm>
#include <utility>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/position_segments.h"
#include "splashmask/masks/analysis/runs.h"
#include "splashmask/masks/analysis/strided.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// Columns that are evaluated at positions first, first + step, ...
using Part = Rows;

bool IsContiguous(const Part& part) { return part.step == 1 || part.step == -1; }

class KvOrderAnalysis final : public Analysis {
 public:
  KvOrderAnalysis(Shape shape, std::unique_ptr<const Analysis> child, PositionSegments positions)
      : Analysis(shape), child_(std::move(child)), positions_(std::move(positions)) {
    double segments = 0, strided = 0;
    ForEachPart({0, positions_.size()}, [&](int64_t, const Part& part) {
      ++segments;
      strided += !IsContiguous(part);
      return true;
    });
    // A run of positions is one run of columns in each segment that it reaches.
    const double runs = child_->RunsPerRow();
    runs_per_row_ =
        std::min(static_cast<double>(positions_.size()), runs * (1 + strided) + segments);
  }

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    if (!IsShort(kv)) {
      const auto bounds = positions_.Bounds(kv.begin, kv.end - 1);
      return ClassifySpan(rows, {bounds.min, bounds.max + 1}, /*is_exact=*/false);
    }
    JoinedClass joined;
    ForEachPart(kv, [&](int64_t, const Part& part) {
      const KvRange span = SpanOf(part);
      joined.Add(ClassifySpan(rows, span, IsContiguous(part) || span.size() <= 2));
      return !joined.is_settled();
    });
    return joined.get();
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows,
               int64_t tile_columns) const override {
    if (positions_.CountIn(kv.begin, kv.end - 1) == 1) {
      const Part part = positions_.Part(kv.begin, kv.end - 1);
      if (IsContiguous(part)) return child_->Repeats(rows, SpanOf(part), tile_rows, tile_columns);
    }
    return IsUniform(Classify(rows, kv));
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (AppendUniform(Classify(rows, kv), key)) return true;
    if (!IsShort(kv)) return false;
    key->push_back(positions_.CountIn(kv.begin, kv.end - 1));
    bool has_key = true;
    ForEachPart(kv, [&](int64_t, const Part& part) {
      key->push_back(part.count);
      key->push_back(part.step);
      has_key = IsContiguous(part)
                    ? child_->AppendKey(rows, SpanOf(part), key)
                    : AppendUniform(ClassifySpan(rows, SpanOf(part), /*is_exact=*/false), key);
      return has_key;
    });
    return has_key;
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    if (ReadsCells(kv)) {
      std::vector<uint64_t> bits(static_cast<size_t>(WordsFor(kv.size())));
      DrawScattered({&q, 1}, kv, {bits.data(), WordsFor(kv.size())});
      AppendRunsOfBits(bits.data(), kv.size(), kv.begin, runs);
      return;
    }
    Runs inner;
    std::vector<uint64_t> bits;
    ForEachPart(kv, [&](int64_t column, const Part& part) {
      if (!IsContiguous(part) && !HasFewRuns(*child_, SpanOf(part))) {
        bits.assign(static_cast<size_t>(WordsFor(part.count)), 0);
        DrawPart({&q, 1}, part, 0, {bits.data(), WordsFor(part.count)});
        AppendRunsOfBits(bits.data(), part.count, column, runs);
        return true;
      }
      child_->ReadRuns(q, SpanOf(part), &inner);
      AppendStrided(inner, part, column, runs);
      return true;
    });
  }

  double RunsPerRow() const override { return runs_per_row_; }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    if (ReadsCells(kv)) {
      DrawScattered(q, kv, out);
      return;
    }
    for (size_t r = 0; r < q.size(); ++r) {
      FillRow(out.row(static_cast<int64_t>(r)), kv.size(), false);
    }
    ForEachPart(kv, [&](int64_t column, const Part& part) {
      DrawPart(q, part, column - kv.begin, out);
      return true;
    });
  }

  bool Scattered(int64_t begin, int64_t end) const override {
    return child_->Scattered(begin, end);
  }

 private:
  // A range of columns with more parts than one for so many is read cell by cell.
  static constexpr int64_t kCellsPerPart = 32;
  // Cells of a span that are drawn for one that is wanted, at most.
  static constexpr int64_t kSpanPerCell = 2048;

  bool IsShort(KvRange kv) const {
    return positions_.CountIn(kv.begin, kv.end - 1) <= PositionSegments::kMost;
  }

  // Whether the columns are many small parts, or several that all span about the same positions:
  // then those are looked at once.
  bool ReadsCells(KvRange kv) const {
    const int64_t parts = positions_.CountIn(kv.begin, kv.end - 1);
    if (parts == 1) return false;
    const Part first = positions_.Part(kv.begin, kv.end - 1);
    return parts * kCellsPerPart > kv.size() ||
           (!IsContiguous(first) && !child_->DrawsStrided(SpanOf(first)));
  }

  // Calls see(first column, part) until it returns false.
  template <typename See>
  void ForEachPart(KvRange kv, See see) const {
    for (int64_t column = kv.begin; column < kv.end;) {
      const Part part = positions_.Part(column, kv.end - 1);
      if (!see(column, part)) return;
      column += part.count;
    }
  }

  // The class of some positions of a span, or of all of them.
  RectClass ClassifySpan(const Rows& rows, KvRange span, bool is_exact) const {
    const RectClass all = child_->Classify(rows, span);
    return all == RectClass::kPartial && !is_exact ? RectClass::kUnknown : all;
  }

  void DrawPart(std::span<const int64_t> q, const Part& part, int64_t at, BitRows out) const {
    const OwnedBits bits(std::ssize(q), part.count);
    const BitRows drawn = bits.rows();
    if (IsContiguous(part)) {
      child_->Draw(q, SpanOf(part), drawn);
    } else if (child_->DrawsStrided(SpanOf(part))) {
      child_->DrawStrided(q, part, drawn);
    } else {
      std::vector<int64_t> positions;
      AppendPositions(part, &positions);
      DrawCells(q, positions, drawn);
    }
    for (int64_t r = 0; r < std::ssize(q); ++r) {
      if (part.step == -1) ReverseBits(drawn.row(r), part.count);
      OrShifted(drawn.row(r), part.count, at, out.row(r));
    }
  }

  void DrawScattered(std::span<const int64_t> q, KvRange kv, BitRows out) const {
    std::vector<int64_t> positions;
    ForEachPart(kv, [&](int64_t, const Part& part) {
      AppendPositions(part, &positions);
      return true;
    });
    DrawCells(q, positions, out);
  }

  static void AppendPositions(const Part& part, std::vector<int64_t>* positions) {
    for (int64_t i = 0; i < part.count; ++i) positions->push_back(part.first + i * part.step);
  }

  // Draws the cells (q[r], positions[c]) into bit c of row r of `out`, as Draw does.
  void DrawCells(std::span<const int64_t> q, const std::vector<int64_t>& positions,
                 BitRows out) const {
    const auto [least, greatest] = std::minmax_element(positions.begin(), positions.end());
    const KvRange span{*least, *greatest + 1};
    const bool is_near = span.size() / kSpanPerCell <= std::ssize(positions);
    std::vector<uint64_t> bits(static_cast<size_t>(is_near ? WordsFor(span.size()) : 0));
    Runs cell;
    const auto sees = [&](int64_t row, int64_t position) -> uint64_t {
      if (is_near) {
        const int64_t bit = position - span.begin;
        return bits[bit / 64] >> (bit % 64) & 1;
      }
      child_->ReadRuns(row, {position, position + 1}, &cell);
      return !cell.empty();
    };
    for (size_t r = 0; r < q.size(); ++r) {
      if (is_near) child_->Draw(q.subspan(r, 1), span, {bits.data(), WordsFor(span.size())});
      uint64_t* row = out.row(static_cast<int64_t>(r));
      for (size_t first = 0; first < positions.size(); first += 64) {
        const size_t count = std::min<size_t>(64, positions.size() - first);
        uint64_t word = 0;
        for (size_t i = 0; i < count; ++i) word |= sees(q[r], positions[first + i]) << i;
        row[first / 64] = word;
      }
    }
  }

  std::unique_ptr<const Analysis> child_;
  PositionSegments positions_;
  double runs_per_row_ = 0;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeKvOrder(const Mask& mask, const Array& positions) {
  PositionSegments segments(positions);
  const auto [least, greatest] = segments.Bounds(0, segments.size() - 1);
  return std::make_unique<KvOrderAnalysis>(mask.shape(), Analyze(mask, {least, greatest + 1}),
                                           std::move(segments));
}

}  // namespace splashmask
