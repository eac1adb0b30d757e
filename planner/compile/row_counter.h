// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of the rows of a mask, from classes, runs and bits. Private to compile.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <mutex>
#include <numeric>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/progress.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

/// Counts the pairs of some rows in a range of kv positions. For one thread.
class RowCounter {
 public:
  RowCounter(const Analysis& mask, KvRange kv, const Progress& progress)
      : mask_(mask), kv_(kv), progress_(progress) {
    // Rows of many runs are drawn: a word holds 64 cells.
    constexpr double kCellsPerRun = 64;
    is_drawn_ = mask.RunsPerRow() * kCellsPerRun > static_cast<double>(kv.size());
  }

  /// Calls see(row, part, its pairs) for disjoint parts of the rows [begin, end) that hold all
  /// their pairs. A row may come in several parts. Throws kCancelled.
  template <typename See>
  void Count(int64_t begin, int64_t end, const See& see) {
    Count(begin, end, kv_, see);
  }

 private:
  // Smaller rectangles are read without asking for their class.
  static constexpr int64_t kRows = 64, kColumns = 16384;
  static constexpr int64_t kDrawn = 16;  // Rows at once.

  template <typename See>
  void Count(int64_t begin, int64_t end, KvRange kv, const See& see) {
    progress_.ThrowIfStopped();
    const RectClass known = mask_.Classify({begin, end - begin}, kv);
    if (known == RectClass::kEmpty) return;
    if (known == RectClass::kFull) {
      for (int64_t q = begin; q < end; ++q) see(q, kv, kv.size());
    } else if (end - begin > kRows) {
      const int64_t middle = begin + (end - begin) / 2;
      Count(begin, middle, kv, see);
      Count(middle, end, kv, see);
    } else if (is_drawn_ && kv.size() > kColumns) {
      const int64_t middle = kv.begin + kv.size() / 2;
      Count(begin, end, {kv.begin, middle}, see);
      Count(begin, end, {middle, kv.end}, see);
    } else if (is_drawn_) {
      for (int64_t q = begin; q < end; q += kDrawn) Draw(q, std::min(end, q + kDrawn), kv, see);
    } else {
      for (int64_t q = begin; q < end; ++q) {
        mask_.ReadRuns(q, kv, &runs_);
        int64_t pairs = 0;
        for (const Run& run : runs_) pairs += run.end - run.begin;
        if (pairs > 0) see(q, kv, pairs);
      }
    }
  }

  template <typename See>
  void Draw(int64_t begin, int64_t end, KvRange kv, const See& see) {
    const int64_t words = WordsFor(kv.size());
    bits_.resize(static_cast<size_t>(kDrawn * words));
    positions_.resize(static_cast<size_t>(end - begin));
    std::iota(positions_.begin(), positions_.end(), begin);
    const BitRows rows{bits_.data(), words};
    mask_.Draw(positions_, kv, rows);
    for (int64_t q = begin; q < end; ++q) {
      int64_t pairs = 0;
      for (int64_t w = 0; w < words; ++w) pairs += std::popcount(rows.row(q - begin)[w]);
      if (pairs > 0) see(q, kv, pairs);
    }
  }

  const Analysis& mask_;
  const KvRange kv_;
  const Progress& progress_;
  bool is_drawn_;
  Runs runs_;
  std::vector<uint64_t> bits_;
  std::vector<int64_t> positions_;
};

/// Calls work(counter, begin, end) for pieces of the rows [q_begin, q_end), from any thread. Throws
/// kCancelled.
template <typename Work>
void ForEachRowPiece(const Analysis& mask, int64_t q_begin, int64_t q_end, KvRange kv, int threads,
                     const Progress& progress, const Work& work) {
  if (kv.begin == kv.end) return;
  constexpr int64_t kCells = int64_t{1} << 28, kFewestRows = 64, kMostRows = 4096;
  const int64_t rows = std::clamp(kCells / kv.size(), kFewestRows, kMostRows);
  const int64_t pieces = (q_end - q_begin + rows - 1) / rows;
  std::atomic<int64_t> done = 0;
  std::mutex reporting;
  RunWithThreads(threads, [&] {
    ParallelFor(pieces, [&](int64_t piece) {
      const int64_t begin = q_begin + piece * rows;
      RowCounter counter(mask, kv, progress);
      work(counter, begin, std::min(q_end, begin + rows));
      const int64_t so_far = ++done;
      if (const std::unique_lock lock(reporting, std::try_to_lock); lock) {
        progress.Report(static_cast<double>(so_far) / static_cast<double>(pieces));
      }
    });
  });
}

}  // namespace splashmask
