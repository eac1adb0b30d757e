// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// Looks for a visible position in windows that double, since most rows see one early.
bool SeesAny(const Analysis& analysis, int64_t q, Runs* runs) {
  const int64_t kv_len = analysis.shape().kv_len;
  for (int64_t begin = 0, size = 256; begin < kv_len; begin += size, size *= 2) {
    analysis.ReadRuns(q, {begin, std::min(kv_len, begin + size)}, runs);
    if (!runs->empty()) return true;
  }
  return false;
}

void AppendRange(PositionRanges& ranges, int64_t begin, int64_t end) {
  if (!ranges.empty() && ranges.back().second == begin) {
    ranges.back().second = end;
  } else {
    ranges.emplace_back(begin, end);
  }
}

// Halves [begin, end) until the rows are all empty, surely none is, or one is left.
void Search(const Analysis& analysis, int64_t begin, int64_t end, Runs* runs,
            PositionRanges* ranges) {
  const KvRange all{0, analysis.shape().kv_len};
  const RectClass found = analysis.Classify({begin, end - begin, 1}, all);
  if (found == RectClass::kFull) return;
  if (found == RectClass::kEmpty) return AppendRange(*ranges, begin, end);
  if (end - begin == 1) {
    const bool empty = found == RectClass::kUnknown && !SeesAny(analysis, begin, runs);
    if (empty) AppendRange(*ranges, begin, end);
    return;
  }
  const int64_t middle = begin + (end - begin) / 2;
  Search(analysis, begin, middle, runs, ranges);
  Search(analysis, middle, end, runs, ranges);
}

}  // namespace

PositionRanges EmptyRows(const Mask& mask, int threads) {
  const std::unique_ptr<const Analysis> analysis = Analyze(mask);
  constexpr int64_t kPiece = 1024;
  const int64_t q_len = mask.shape().q_len;
  std::vector<PositionRanges> pieces(static_cast<size_t>((q_len + kPiece - 1) / kPiece));
  RunWithThreads(threads, [&] {
    ParallelFor(std::ssize(pieces), [&](int64_t piece) {
      Runs runs;
      const int64_t begin = piece * kPiece;
      Search(*analysis, begin, std::min(q_len, begin + kPiece), &runs, &pieces[piece]);
    });
  });
  PositionRanges result;
  for (const PositionRanges& piece : pieces) {
    for (const auto& [begin, end] : piece) AppendRange(result, begin, end);
  }
  return result;
}

}  // namespace splashmask
