// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/count_pairs.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

PairRectangle Checked(Shape shape, const std::optional<PairRectangle>& where) {
  const PairRectangle all{0, shape.q_len, 0, shape.kv_len};
  const PairRectangle in = where.value_or(all);
  const auto check = [](const char* axis, int64_t begin, int64_t end, int64_t length) {
    if (0 <= begin && begin <= end && end <= length) return;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[count] expected a range of {} inside 0..{}, got {}..{}", axis, length,
                            begin, end));
  };
  check("q", in.q_begin, in.q_end, shape.q_len);
  check("kv", in.kv_begin, in.kv_end, shape.kv_len);
  const ByteCount cells = static_cast<ByteCount>(in.q_end - in.q_begin) *
                          static_cast<ByteCount>(in.kv_end - in.kv_begin);
  if (cells > static_cast<ByteCount>(std::numeric_limits<int64_t>::max())) {
    throw Error(ErrorCode::kTooLarge, "[count] expected fewer cells than 64 bits count");
  }
  return in;
}

// Counts the pairs of some rows of a mask.
class RowCounter {
 public:
  RowCounter(const Analysis& mask, KvRange kv) : mask_(mask), kv_(kv) {
    // Rows of many runs are drawn: a word holds 64 cells.
    constexpr double kCellsPerRun = 64;
    is_drawn_ = mask.RunsPerRow() * kCellsPerRun > static_cast<double>(kv.size());
  }

  // Calls see(row, its pairs) for rows [begin, end).
  template <typename See>
  void Count(int64_t begin, int64_t end, const See& see) {
    const RectClass known = mask_.Classify({begin, end - begin}, kv_);
    if (known == RectClass::kEmpty || known == RectClass::kFull) {
      const int64_t pairs = known == RectClass::kFull ? kv_.size() : 0;
      for (int64_t q = begin; q < end; ++q) see(q, pairs);
    } else if (is_drawn_) {
      for (int64_t q = begin; q < end; q += kDrawn) Draw(q, std::min(end, q + kDrawn), see);
    } else {
      for (int64_t q = begin; q < end; ++q) {
        mask_.ReadRuns(q, kv_, &runs_);
        int64_t pairs = 0;
        for (const Run& run : runs_) pairs += run.end - run.begin;
        see(q, pairs);
      }
    }
  }

 private:
  static constexpr int64_t kDrawn = 16;  // Rows at once.

  template <typename See>
  void Draw(int64_t begin, int64_t end, const See& see) {
    const int64_t words = WordsFor(kv_.size());
    bits_.resize(static_cast<size_t>(kDrawn * words));
    positions_.resize(static_cast<size_t>(end - begin));
    std::iota(positions_.begin(), positions_.end(), begin);
    const BitRows rows{bits_.data(), words};
    mask_.Draw(positions_, kv_, rows);
    for (int64_t q = begin; q < end; ++q) {
      int64_t pairs = 0;
      for (int64_t w = 0; w < words; ++w) pairs += std::popcount(rows.row(q - begin)[w]);
      see(q, pairs);
    }
  }

  const Analysis& mask_;
  const KvRange kv_;
  bool is_drawn_;
  Runs runs_;
  std::vector<uint64_t> bits_;
  std::vector<int64_t> positions_;
};

// Calls work(counter, begin, end) for pieces of the rows, from any thread.
template <typename Work>
void ForEachPiece(const Mask& mask, const PairRectangle& in, int threads, const Progress& progress,
                  const Work& work) {
  if (in.kv_begin == in.kv_end) return;
  constexpr int64_t kRows = 4096;
  const auto analysis = Analyze(mask);
  const int64_t pieces = (in.q_end - in.q_begin + kRows - 1) / kRows;
  std::atomic<int64_t> done = 0;
  RunWithThreads(threads, [&] {
    ParallelFor(pieces, [&](int64_t piece) {
      progress.ThrowIfStopped();
      const int64_t begin = in.q_begin + piece * kRows;
      RowCounter counter(*analysis, {in.kv_begin, in.kv_end});
      work(counter, begin, std::min(in.q_end, begin + kRows));
      progress.Report(static_cast<double>(++done) / static_cast<double>(pieces));
    });
  });
}

}  // namespace

std::vector<int64_t> CountPairs(const MultiHeadMask& mask,
                                const std::optional<PairRectangle>& where, int threads,
                                const Progress& progress) {
  const PairRectangle in = Checked(mask.shape(), where);
  std::unordered_map<const MaskNode*, int64_t> counted;
  std::vector<int64_t> pairs;
  for (const Mask& head : mask.masks()) {
    const auto [at, is_new] = counted.try_emplace(&head.node(), 0);
    if (is_new) {
      std::atomic<int64_t> sum = 0;
      ForEachPiece(head, in, threads, progress,
                   [&](RowCounter& counter, int64_t begin, int64_t end) {
                     int64_t of_piece = 0;
                     counter.Count(begin, end, [&](int64_t, int64_t n) { of_piece += n; });
                     sum += of_piece;
                   });
      at->second = sum;
    }
    pairs.push_back(at->second);
  }
  return pairs;
}

std::vector<int64_t> CountPairsOfRows(const Mask& mask, const std::optional<PairRectangle>& where,
                                      int threads, const Progress& progress) {
  const PairRectangle in = Checked(mask.shape(), where);
  std::vector<int64_t> pairs(static_cast<size_t>(in.q_end - in.q_begin));
  ForEachPiece(mask, in, threads, progress, [&](RowCounter& counter, int64_t begin, int64_t end) {
    counter.Count(begin, end, [&](int64_t q, int64_t of_row) {
      pairs[static_cast<size_t>(q - in.q_begin)] = of_row;
    });
  });
  return pairs;
}

}  // namespace splashmask
