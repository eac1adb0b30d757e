// SPDX-License-Identifier: Apache-2.0
// Masks that arrays define: documents, segments, blocks, dense.

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/range_min_max.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// Row q sees its document; documents follow one another from position 0 on both axes.
struct DocumentBounds : BandBounds {
  static constexpr bool kRunsAreSquares = true;
  std::vector<int64_t> ends;  // Of the documents that have a position, ascending.

  explicit DocumentBounds(const std::vector<int64_t>& lengths) {
    int64_t end = 0;
    for (int64_t length : lengths) {
      if (length > 0) ends.push_back(end += length);
    }
    first_row = 0;
    last_row = end - 1;
  }

  int64_t Lo(int64_t q) const {
    const auto document = Find(q);
    return document == ends.begin() ? 0 : *std::prev(document);
  }
  int64_t Hi(int64_t q) const {
    if (q < 0) return 0;
    const auto document = Find(q);
    return document == ends.end() ? last_row + 1 : *document;
  }

  // The squares of documents, relative to the rectangle and cut to it.
  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const {
    if (rows.count > 1 && rows.step != 1) return false;
    // Those that reach past both beginnings and start before both ends.
    const int64_t begin = std::max(rows.first, kv.begin);
    const int64_t end = std::min(rows.last() + 1, kv.end);
    constexpr int64_t kMostDocuments = 8;
    int64_t documents = 0;
    const size_t count_at = key->size();
    key->push_back(0);
    for (auto document = Find(begin); document != ends.end(); ++document) {
      const int64_t first = document == ends.begin() ? 0 : *std::prev(document);
      if (first >= end) break;
      if (++documents > kMostDocuments) return false;
      for (int64_t edge : {first, *document}) {
        key->push_back(std::clamp<int64_t>(edge - rows.first, 0, rows.count));
        key->push_back(std::clamp<int64_t>(edge - kv.begin, 0, kv.size()));
      }
    }
    (*key)[count_at] = documents;
    return true;
  }

 private:
  std::vector<int64_t>::const_iterator Find(int64_t q) const {
    return std::upper_bound(ends.begin(), ends.end(), q);
  }
};

// Maximal runs of equal ids along one axis.
struct IdRuns {
  std::vector<int64_t> starts;  // First position of each run, then the length of the axis.
  std::vector<int64_t> ids;     // Of each run.
  std::vector<int32_t> run_of;  // Of each position.

  explicit IdRuns(const Array& array) {
    run_of.reserve(static_cast<size_t>(array.size()));
    array.ForEach([this](int64_t i, int64_t id) {
      if (ids.empty() || ids.back() != id) {
        ids.push_back(id);
        starts.push_back(i);
      }
      run_of.push_back(static_cast<int32_t>(ids.size() - 1));
    });
    starts.push_back(array.size());
  }
};

class SegmentsAnalysis final : public Analysis {
 public:
  SegmentsAnalysis(Shape shape, const node::Segments& n)
      : Analysis(shape),
        q_(n.q_ids),
        kv_(n.kv_ids),
        pad_(n.pad),
        q_range_(q_.ids, n.pad),
        kv_range_(kv_.ids, n.pad) {
    by_id_.resize(kv_.ids.size());
    std::iota(by_id_.begin(), by_id_.end(), 0);
    std::stable_sort(by_id_.begin(), by_id_.end(),
                     [this](int32_t a, int32_t b) { return kv_.ids[a] < kv_.ids[b]; });
  }

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    const int32_t q_first = q_.run_of[rows.min()], q_last = q_.run_of[rows.max()];
    const int32_t kv_first = kv_.run_of[kv.begin], kv_last = kv_.run_of[kv.end - 1];
    if (q_first == q_last && kv_first == kv_last) {
      const int64_t id = q_.ids[q_first];
      return id == kv_.ids[kv_first] && !IsPad(id) ? RectClass::kFull : RectClass::kEmpty;
    }
    const auto q_ids = q_range_.Query(q_first, q_last);
    const auto kv_ids = kv_range_.Query(kv_first, kv_last);
    if (q_ids.empty() || kv_ids.empty() || q_ids.max < kv_ids.min || kv_ids.max < q_ids.min) {
      return RectClass::kEmpty;
    }
    // Neighbouring runs differ, so not every cell is visible; look for one that is.
    constexpr int32_t kMostLookups = 64;
    if (q_last - q_first >= kMostLookups) return RectClass::kUnknown;
    for (int32_t run = q_first; run <= q_last; ++run) {
      if (!IsPad(q_.ids[run]) && FirstRunOf(q_.ids[run], kv_first, kv_last) != by_id_.end()) {
        return NoGaps(rows) ? RectClass::kPartial : RectClass::kUnknown;
      }
    }
    return RectClass::kEmpty;
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    return AppendUniform(Classify(rows, kv), key);
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    const int64_t id = q_.ids[q_.run_of[q]];
    if (IsPad(id)) return;
    const int32_t last = kv_.run_of[kv.end - 1];
    for (auto it = FirstRunOf(id, kv_.run_of[kv.begin], last);
         it != by_id_.end() && *it <= last && kv_.ids[*it] == id; ++it) {
      runs->push_back({std::max(kv_.starts[*it], kv.begin), std::min(kv_.starts[*it + 1], kv.end)});
    }
  }

  double RunsPerRow() const override {
    size_t distinct = by_id_.empty() ? 0 : 1;
    for (size_t i = 1; i < by_id_.size(); ++i) {
      distinct += kv_.ids[by_id_[i]] != kv_.ids[by_id_[i - 1]];
    }
    return static_cast<double>(by_id_.size()) / static_cast<double>(distinct);
  }

 private:
  bool IsPad(int64_t id) const { return pad_ && *pad_ == id; }

  // The first kv run with `id` in [first, last], in the order of by_id_; end() when there is none.
  std::vector<int32_t>::const_iterator FirstRunOf(int64_t id, int32_t first, int32_t last) const {
    const auto it =
        std::lower_bound(by_id_.begin(), by_id_.end(), std::pair(id, first),
                         [this](int32_t run, const std::pair<int64_t, int32_t>& wanted) {
                           return std::pair(kv_.ids[run], run) < wanted;
                         });
    return it != by_id_.end() && kv_.ids[*it] == id && *it <= last ? it : by_id_.end();
  }

  IdRuns q_, kv_;
  std::optional<int64_t> pad_;
  RangeMinMax q_range_, kv_range_;
  std::vector<int32_t> by_id_;  // kv runs, sorted by id, then position.
};

class BlocksAnalysis final : public Analysis {
 public:
  BlocksAnalysis(Shape shape, const node::Blocks& n)
      : Analysis(shape),
        bits_(n.bits),
        block_(n.block),
        columns_(n.bits.shape()[1]),
        // sums_[r][c] counts the bits above row r and left of column c.
        sums_(static_cast<size_t>((n.bits.shape()[0] + 1) * (columns_ + 1))) {
    for (int64_t r = 0; r < n.bits.shape()[0]; ++r) {
      int64_t in_row = 0;
      for (int64_t c = 0; c < columns_; ++c) {
        in_row += Bit(r, c);
        Sum(r + 1, c + 1) = Sum(r, c + 1) + in_row;
      }
    }
  }

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    const int64_t r0 = rows.min() / block_, r1 = rows.max() / block_ + 1;
    const int64_t c0 = kv.begin / block_, c1 = (kv.end - 1) / block_ + 1;
    const int64_t set = Sum(r1, c1) - Sum(r0, c1) - Sum(r1, c0) + Sum(r0, c0);
    if (set == 0) return RectClass::kEmpty;
    if (set == (r1 - r0) * (c1 - c0)) return RectClass::kFull;
    return NoGaps(rows) ? RectClass::kPartial : RectClass::kUnknown;
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    if (AppendUniform(Classify(rows, kv), key)) return true;
    const int64_t r0 = rows.min() / block_, r1 = rows.max() / block_ + 1;
    const int64_t c0 = kv.begin / block_, c1 = (kv.end - 1) / block_ + 1;
    constexpr int64_t kMostBits = 64;
    if (c1 - c0 > kMostBits || (r1 - r0) * (c1 - c0) > kMostBits) return false;
    key->push_back(rows.first % block_);
    key->push_back(kv.begin % block_);
    uint64_t bits = 0;
    for (int64_t r = r0; r < r1; ++r) {
      for (int64_t c = c0; c < c1; ++c) bits = 2 * bits + Bit(r, c);
    }
    key->push_back(static_cast<int64_t>(bits));
    return true;
  }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    for (int64_t c = kv.begin / block_; c * block_ < kv.end; ++c) {
      if (!Bit(q / block_, c)) continue;
      const Run run{std::max(c * block_, kv.begin), std::min((c + 1) * block_, kv.end)};
      if (!runs->empty() && runs->back().end == run.begin) {
        runs->back().end = run.end;
      } else {
        runs->push_back(run);
      }
    }
  }

  double RunsPerRow() const override { return static_cast<double>(columns_) / 2; }

 private:
  bool Bit(int64_t r, int64_t c) const { return bits_.data()[r * columns_ + c] != std::byte{0}; }
  int64_t& Sum(int64_t r, int64_t c) { return sums_[r * (columns_ + 1) + c]; }
  int64_t Sum(int64_t r, int64_t c) const { return sums_[r * (columns_ + 1) + c]; }

  Array bits_;
  int64_t block_;
  int64_t columns_;
  std::vector<int64_t> sums_;
};

// Nothing is known of a dense array but by reading it, which only drawing does at full speed.
class DenseAnalysis final : public Analysis {
 public:
  DenseAnalysis(Shape shape, Array array) : Analysis(shape), array_(std::move(array)) {}

  RectClass Classify(const Rows&, KvRange) const override { return RectClass::kUnknown; }
  bool AppendKey(const Rows&, KvRange, RectKey*) const override { return false; }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    const std::byte* row = Row(q);
    for (int64_t c = kv.begin; c < kv.end;) {
      uint64_t eight = 1;
      if (kv.end - c >= 8) std::memcpy(&eight, row + c, 8);
      if (eight == 0 || row[c] == std::byte{0}) {
        c += eight == 0 ? 8 : 1;
        continue;
      }
      const int64_t begin = c;
      while (c < kv.end && row[c] != std::byte{0}) ++c;
      runs->push_back({begin, c});
    }
  }

  double RunsPerRow() const override { return static_cast<double>(shape().kv_len); }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    for (size_t r = 0; r < q.size(); ++r) {
      PackBools(Row(q[r]) + kv.begin, kv.size(), out.row(static_cast<int64_t>(r)));
    }
  }

  int64_t DrawWidth() const override { return 65536; }  // Half the speed at 4096.

 private:
  const std::byte* Row(int64_t q) const { return array_.data() + q * shape().kv_len; }

  Array array_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeArrayLeaf(const Mask& mask) {
  const MaskExpr& expr = mask.node().expr;
  const Shape shape = mask.shape();
  if (const auto* documents = std::get_if<node::Documents>(&expr)) {
    return std::make_unique<BandAnalysis<DocumentBounds>>(shape,
                                                          DocumentBounds(documents->lengths));
  }
  if (const auto* segments = std::get_if<node::Segments>(&expr)) {
    return std::make_unique<SegmentsAnalysis>(shape, *segments);
  }
  if (const auto* blocks = std::get_if<node::Blocks>(&expr)) {
    return std::make_unique<BlocksAnalysis>(shape, *blocks);
  }
  return std::make_unique<DenseAnalysis>(shape, std::get<node::Dense>(expr).array);
}

}  // namespace splashmask
