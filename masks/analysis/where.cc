// SPDX-License-Identifier: Apache-2.0
// Predicates: interval arithmetic on rectangles, vectors on what it leaves open.

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <limits>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/runs.h"
#include "splashmask/masks/analysis/strided.h"
#include "splashmask/masks/analysis/where_key.h"
#include "splashmask/masks/analysis/where_rows.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

using Ranges = boost::container::small_vector<ValueRange, 32>;

RectClass ClassOf(const ValueRange& condition) {
  if (!condition.is_single()) return RectClass::kUnknown;
  return condition.low != 0 ? RectClass::kFull : RectClass::kEmpty;
}

class WhereAnalysis final : public Analysis {
 public:
  WhereAnalysis(Shape shape, const Predicate& predicate, KvRange domain)
      : Analysis(shape), program_(predicate, shape), runs_per_row_(EstimateRuns(domain)) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    return ClassOf(Find({rows.min(), rows.max()}, kv).back());
  }

  bool AppendKey(const Rows& rows, KvRange kv, RectKey* key) const override {
    const Ranges ranges = Find({rows.min(), rows.max()}, kv);
    if (AppendUniform(ClassOf(ranges.back()), key)) return true;
    return AppendPredicateKey(program_, ranges, rows, kv, key);
  }

  // Halves the row until intervals decide, or few cells are left.
  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    boost::container::small_vector<KvRange, 64> left{kv};
    uint64_t words[WordsFor(kCells)];
    while (!left.empty()) {
      const KvRange part = left.back();
      left.pop_back();
      const RectClass known = Classify({q, 1}, part);
      if (known == RectClass::kEmpty) continue;
      if (known == RectClass::kFull) {
        AppendRun({part.begin, part.end}, runs);
      } else if (part.size() <= kCells) {
        Draw({&q, 1}, part, {words, WordsFor(part.size())});
        AppendRunsOfBits(words, part.size(), part.begin, runs);
      } else {
        const int64_t middle = part.begin + part.size() / 2;
        left.push_back({middle, part.end});
        left.push_back({part.begin, middle});
      }
    }
  }

  double RunsPerRow() const override { return runs_per_row_; }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    DrawStrided(q, {kv.begin, kv.size(), 1}, out);
  }

  bool DrawsStrided(KvRange) const override { return true; }

  void DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const override {
    const auto [first, last] = std::minmax_element(q.begin(), q.end());
    const Ranges ranges = Find({*first, *last}, SpanOf(columns));
    const bool is_narrow = std::all_of(ranges.begin(), ranges.end(), [](const ValueRange& range) {
      return range.low >= std::numeric_limits<int32_t>::min() &&
             range.high <= std::numeric_limits<int32_t>::max();
    });
    DrawPredicate(program_, is_narrow, q, columns, out);
  }

 private:
  static constexpr int64_t kCells = 1024;

  Ranges Find(PositionRange q, KvRange kv) const {
    Ranges ranges(static_cast<size_t>(program_.size()));
    FindRanges(program_, q, {kv.begin, kv.end - 1}, ranges);
    return ranges;
  }

  // From a few rows around the diagonal.
  double EstimateRuns(KvRange domain) const {
    const int64_t q_len = shape().q_len;
    const int64_t window = std::min<int64_t>(domain.size(), 16 * kCells);
    double most = 1;
    Runs runs;
    for (const int64_t q : {q_len / 7, q_len / 2, q_len - 1}) {
      const int64_t begin = std::clamp<int64_t>(q - window / 2, domain.begin, domain.end - window);
      ReadRuns(q, {begin, begin + window}, &runs);
      constexpr double kFew = 4;  // As many may be all that the row has.
      const auto found = static_cast<double>(runs.size());
      const double scale = static_cast<double>(domain.size()) / static_cast<double>(window);
      most = std::max(most, found <= kFew ? found : found * scale);
    }
    return most;
  }

  PredicateProgram program_;
  double runs_per_row_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeWhere(const Mask& mask, KvRange domain) {
  return std::make_unique<WhereAnalysis>(mask.shape(),
                                         std::get<node::Where>(mask.node().expr).predicate, domain);
}

}  // namespace splashmask
