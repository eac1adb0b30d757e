// SPDX-License-Identifier: Apache-2.0
// Masks that compare a q position with a kv position: no arrays, exact for any 64-bit position.

#include <algorithm>
#include <limits>
#include <optional>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// The same columns for every row: full, empty, prefix, kv_range.
struct Columns : BandBounds {
  int64_t begin, end;

  Columns(KvRange domain, int64_t first, int64_t last)
      : begin(std::clamp(first, domain.begin, domain.end)),
        end(std::clamp(last, domain.begin, domain.end)) {
    if (first >= last || begin == end) begin = end = domain.begin;
  }

  int64_t Lo(int64_t) const { return begin; }
  int64_t Hi(int64_t) const { return end; }
  bool AppendKey(const Rows&, KvRange kv, RectKey* key) const {
    key->push_back(std::clamp<int64_t>(begin - kv.begin, 0, kv.size()));
    key->push_back(std::clamp<int64_t>(end - kv.begin, 0, kv.size()));
    return true;
  }
};

// q + offset - left <= kv <= q + offset + right: causal and local.
struct Diagonal : BandBounds {
  std::optional<int64_t> left, right;
  int64_t offset;
  KvRange domain;

  Diagonal(KvRange kv_domain, std::optional<int64_t> left_size, std::optional<int64_t> right_size,
           int64_t q_offset)
      : left(left_size), right(right_size), offset(q_offset), domain(kv_domain) {}

  // Unclamped: the first position seen, and one past the last.
  Wide WideLo(int64_t q) const { return Wide{q} + offset - *left; }
  Wide WideHi(int64_t q) const { return Wide{q} + offset + *right + 1; }

  int64_t Lo(int64_t q) const {
    return left ? ClampWide(WideLo(q), domain.begin, domain.end) : domain.begin;
  }
  int64_t Hi(int64_t q) const {
    return right ? ClampWide(WideHi(q), domain.begin, domain.end) : domain.end;
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const {
    // Where an edge crosses the first row, relative to the rectangle, cut where moving it further
    // changes no cell: all rows move it by the same amount.
    const int64_t rise = (rows.count - 1) * std::max<int64_t>(rows.step, 0);
    const int64_t fall = (rows.count - 1) * std::max<int64_t>(-rows.step, 0);
    const auto edge = [&](Wide position) {
      return ClampWide(position - kv.begin, -rise, kv.size() + fall);
    };
    if (left) key->push_back(edge(WideLo(rows.first)));
    if (right) key->push_back(edge(WideHi(rows.first)));
    return true;
  }
};

// q // chunk == kv // chunk and q >= kv.
struct Chunks : BandBounds {
  int64_t chunk;
  KvRange domain;

  Chunks(KvRange kv_domain, int64_t size) : chunk(size), domain(kv_domain) {}

  int64_t Lo(int64_t q) const {
    return ClampWide(Wide{q} - FloorMod(q, chunk), domain.begin, domain.end);
  }
  int64_t Hi(int64_t q) const { return ClampWide(Wide{q} + 1, domain.begin, domain.end); }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const {
    const bool one_chunk = Wide{rows.max()} - FloorMod(rows.max(), chunk) <= rows.min();
    key->push_back(one_chunk);
    if (one_chunk) {
      key->push_back(std::clamp<int64_t>(Lo(rows.first) - kv.begin, 0, kv.size()));
      const Diagonal causal(domain, std::nullopt, 0, 0);
      return causal.AppendKey(rows, kv, key);
    }
    key->push_back(FloorMod(rows.first, chunk));
    key->push_back(rows.first - kv.begin);
    return true;
  }
};

// begin <= q < end: whole rows.
class QRangeAnalysis final : public Analysis {
 public:
  QRangeAnalysis(Shape shape, int64_t begin, int64_t end)
      : Analysis(shape), begin_(begin), end_(end) {}

  RectClass Classify(const Rows& rows, KvRange) const override {
    if (begin_ >= end_ || rows.max() < begin_ || rows.min() >= end_) return RectClass::kEmpty;
    if (rows.min() >= begin_ && rows.max() < end_) return RectClass::kFull;
    const bool hit = Sees(rows.min()) || Sees(rows.max());
    return hit || NoGaps(rows) ? RectClass::kPartial : RectClass::kUnknown;
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows, int64_t) const override {
    return rows.count == tile_rows || IsUniform(Classify(rows, kv));
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (AppendUniform(Classify(rows, kv), key)) return true;
    if (!ModestPositions(rows)) return false;
    if (rows.step == 1) {
      key->push_back(ClampWide(Wide{begin_} - rows.first, 0, rows.count));
      key->push_back(ClampWide(Wide{end_} - rows.first, 0, rows.count));
    } else {
      for (int64_t r = 0; r < rows.count; ++r) key->push_back(Sees(rows.first + r * rows.step));
    }
    return true;
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    if (Sees(q)) runs->push_back({kv.begin, kv.end});
  }

  double RunsPerRow() const override { return 1; }

  bool HasIntervals() const override { return true; }

  void ReadIntervals(std::span<const int64_t> q, KvRange kv, int64_t* begins,
                     int64_t* ends) const override {
    for (size_t r = 0; r < q.size(); ++r) {
      begins[r] = 0;
      ends[r] = Sees(q[r]) ? kv.size() : 0;
    }
  }

 private:
  bool Sees(int64_t q) const { return begin_ <= q && q < end_; }

  int64_t begin_, end_;
};

// (q - kv) mod step == phase.
class StrideAnalysis final : public Analysis {
 public:
  StrideAnalysis(Shape shape, KvRange domain, int64_t step, int64_t phase)
      : Analysis(shape), domain_(domain), step_(step), phase_(phase) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    if (step_ == 1) return RectClass::kFull;
    if (kv.size() >= step_) return RectClass::kPartial;  // Every row sees one of step_ neighbours.
    // A row sees at most one column: the one at `first`, if the rectangle reaches that far.
    const int64_t first = FirstColumn(rows.first, kv);
    const bool same_for_all = rows.count == 1 || FloorMod(rows.step, step_) == 0;
    if (same_for_all) {
      if (first >= kv.size()) return RectClass::kEmpty;
      return kv.size() == 1 ? RectClass::kFull : RectClass::kPartial;
    }
    // Rows differ, so one column cannot be seen by all of them; they may all miss the rectangle.
    if (first < kv.size()) return RectClass::kPartial;
    if (rows.step == 1) {
      // `first` grows by one a row and wraps to 0, inside the rectangle, at step_.
      return rows.count - 1 >= step_ - first ? RectClass::kPartial : RectClass::kEmpty;
    }
    return RectClass::kUnknown;
  }

  bool Repeats(const Rows& rows, KvRange kv, int64_t tile_rows,
               int64_t tile_columns) const override {
    const bool down = rows.count == tile_rows || Wide{tile_rows} * rows.step % step_ == 0;
    const bool right = kv.size() == tile_columns || tile_columns % step_ == 0;
    return (down && right) || IsUniform(Classify(rows, kv));
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (AppendUniform(Classify(rows, kv), key)) return true;
    key->push_back(FirstColumn(rows.first, kv));
    return true;
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    if (step_ == 1) {
      runs->push_back({kv.begin, kv.end});
      return;
    }
    int64_t left = kv.size();
    for (int64_t c = FirstColumn(q, kv); c < left; c += step_) {
      runs->push_back({kv.begin + c, kv.begin + c + 1});
      if (step_ > left - c) break;
    }
  }

  bool DrawsStrided(KvRange) const override { return true; }

  void DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const override {
    const int64_t column_step = FloorMod(columns.step, step_);
    for (int64_t r = 0; r < std::ssize(q); ++r) {
      uint64_t* const row = out.row(r);
      FillRow(row, columns.count, false);
      // How far the column is from the one that the row sees next.
      int64_t left = FirstColumn(q[static_cast<size_t>(r)], {columns.first, columns.first + 1});
      for (int64_t c = 0; c < columns.count; ++c) {
        if (left == 0) row[c / 64] |= uint64_t{1} << (c % 64);
        left = left >= column_step ? left - column_step : left - column_step + step_;
      }
    }
  }

  double RunsPerRow() const override {
    return step_ == 1 ? 1 : static_cast<double>(domain_.size()) / static_cast<double>(step_);
  }

 private:
  // How far from kv.begin the first column is that row q sees, in [0, step_).
  int64_t FirstColumn(int64_t q, KvRange kv) const {
    const Wide distance = Wide{q} - kv.begin - phase_;
    const Wide remainder = distance % step_;
    return static_cast<int64_t>(remainder < 0 ? remainder + step_ : remainder);
  }

  KvRange domain_;
  int64_t step_, phase_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzePositional(const Mask& mask, KvRange domain) {
  const Shape shape = mask.shape();
  constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
  const auto columns = [&](int64_t begin, int64_t end) -> std::unique_ptr<const Analysis> {
    return std::make_unique<BandAnalysis<Columns>>(shape, Columns(domain, begin, end));
  };
  using Result = std::unique_ptr<const Analysis>;
  return std::visit(
      Overloaded{
          [&](const node::Full&) -> Result { return columns(domain.begin, domain.end); },
          [&](const node::Causal& n) -> Result {
            return std::make_unique<BandAnalysis<Diagonal>>(
                shape, Diagonal(domain, std::nullopt, 0, n.offset));
          },
          [&](const node::Local& n) -> Result {
            // A window that closes on itself sees nothing, wherever it is.
            if (n.left && n.right && Wide{*n.left} + *n.right < 0) return columns(0, 0);
            return std::make_unique<BandAnalysis<Diagonal>>(
                shape, Diagonal(domain, n.left, n.right, n.offset));
          },
          [&](const node::ChunkedCausal& n) -> Result {
            return std::make_unique<BandAnalysis<Chunks>>(shape, Chunks(domain, n.chunk));
          },
          [&](const node::Prefix& n) -> Result { return columns(kLowest, n.n); },
          [&](const node::KvRange& n) -> Result { return columns(n.begin, n.end); },
          [&](const node::QRange& n) -> Result {
            return std::make_unique<QRangeAnalysis>(shape, n.begin, n.end);
          },
          [&](const node::Stride& n) -> Result {
            return std::make_unique<StrideAnalysis>(shape, domain, n.step, n.phase);
          },
          [&](const auto&) -> Result { return columns(0, 0); },  // empty()
      },
      mask.node().expr);
}

}  // namespace splashmask
