// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/seen_kv.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/bits.h"
#include "splashmask/masks/analysis/runs.h"
#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/head_masks.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// The union of runs in any order.
class RunUnion {
 public:
  void Add(Run run) {
    if (!runs_.empty() && runs_.back() == run) return;  // Rows often repeat the one before.
    runs_.push_back(run);
    if (runs_.size() >= most_) Merge();
  }

  const Runs& Merge() {
    std::ranges::sort(runs_, {}, &Run::begin);
    size_t last = 0;
    for (size_t i = 1; i < runs_.size(); ++i) {
      if (runs_[i].begin <= runs_[last].end) {
        runs_[last].end = std::max(runs_[last].end, runs_[i].end);
      } else {
        runs_[++last] = runs_[i];
      }
    }
    if (!runs_.empty()) runs_.resize(last + 1);
    // Twice as many before the next time, so that each is sorted a few times at most.
    most_ = std::max(kFew, 2 * runs_.size());
    return runs_;
  }

 private:
  static constexpr size_t kFew = 4096;

  Runs runs_;
  size_t most_ = kFew;
};

// What some rows see. For one thread.
class RowReader {
 public:
  RowReader(const Analysis& mask, const Progress& progress) : mask_(mask), progress_(progress) {
    // Rows of many runs are drawn: a word holds 64 cells.
    constexpr double kCellsPerRun = 64;
    is_drawn_ = mask.RunsPerRow() * kCellsPerRun > static_cast<double>(mask.shape().kv_len);
  }

  // Throws kCancelled.
  const Runs& Read(int64_t begin, int64_t end) {
    Read(begin, end, {0, mask_.shape().kv_len});
    return seen_.Merge();
  }

 private:
  // Smaller rectangles are read without asking for their class.
  static constexpr int64_t kRows = 64, kColumns = 16384;
  static constexpr int64_t kDrawn = 16;  // Rows at once.

  void Read(int64_t begin, int64_t end, KvRange kv) {
    progress_.ThrowIfStopped();
    const RectClass known = mask_.Classify({begin, end - begin}, kv);
    if (known == RectClass::kEmpty) return;
    if (known == RectClass::kFull) {
      seen_.Add({kv.begin, kv.end});
    } else if (end - begin > kRows) {
      const int64_t middle = begin + (end - begin) / 2;
      Read(begin, middle, kv);
      Read(middle, end, kv);
    } else if (is_drawn_ && kv.size() > kColumns) {
      const int64_t middle = kv.begin + kv.size() / 2;
      Read(begin, end, {kv.begin, middle});
      Read(begin, end, {middle, kv.end});
    } else if (is_drawn_) {
      Draw(begin, end, kv);
    } else {
      for (int64_t q = begin; q < end; ++q) {
        mask_.ReadRuns(q, kv, &runs_);
        for (const Run& run : runs_) seen_.Add(run);
      }
    }
  }

  void Draw(int64_t begin, int64_t end, KvRange kv) {
    const int64_t words = WordsFor(kv.size());
    bits_.resize(static_cast<size_t>(kDrawn * words));
    std::vector<uint64_t> any(static_cast<size_t>(words));
    const BitRows rows{bits_.data(), words};
    for (int64_t q = begin; q < end; q += kDrawn) {
      positions_.resize(static_cast<size_t>(std::min(kDrawn, end - q)));
      std::iota(positions_.begin(), positions_.end(), q);
      mask_.Draw(positions_, kv, rows);
      for (size_t r = 0; r < positions_.size(); ++r) {
        OrWords(any.data(), rows.row(static_cast<int64_t>(r)), words);
      }
    }
    runs_.clear();
    AppendRunsOfBits(any.data(), kv.size(), kv.begin, &runs_);
    for (const Run& run : runs_) seen_.Add(run);
  }

  const Analysis& mask_;
  const Progress& progress_;
  bool is_drawn_;
  RunUnion seen_;
  Runs runs_;
  std::vector<uint64_t> bits_;
  std::vector<int64_t> positions_;
};

// What the parts of one mask see is added to `seen`, [parts].
void AddSeen(const Analysis& mask, int threads, const Progress& progress,
             std::vector<RunUnion>* seen) {
  constexpr int64_t kMostRows = 4096;
  const int64_t part_rows = mask.shape().q_len / std::ssize(*seen);
  const int64_t pieces = (part_rows + kMostRows - 1) / kMostRows;  // Of each part.
  const int64_t all = pieces * std::ssize(*seen);
  int64_t done = 0;
  std::mutex adding;
  RunWithThreads(threads, [&] {
    ParallelFor(all, [&](int64_t i) {
      const int64_t part = i / pieces, row = i % pieces * kMostRows;
      const int64_t begin = part * part_rows + row;
      RowReader reader(mask, progress);
      const Runs& runs = reader.Read(begin, begin + std::min(kMostRows, part_rows - row));
      const std::lock_guard lock(adding);
      for (const Run& run : runs) (*seen)[static_cast<size_t>(part)].Add(run);
      progress.Report(static_cast<double>(++done) / static_cast<double>(all));
    });
  });
}

}  // namespace

std::vector<PositionRanges> SeenKvRanges(const MultiHeadMask& mask, int64_t parts, int threads,
                                         const Progress& progress) {
  CheckDivides("seen", "parts", parts, "q_len", mask.shape().q_len);
  std::vector<RunUnion> seen(static_cast<size_t>(parts));
  const std::vector<Mask> distinct = GroupHeads(mask, /*head_shards=*/1).unique;
  for (size_t i = 0; i < distinct.size(); ++i) {
    const double each = 1.0 / static_cast<double>(distinct.size());
    const double begin = static_cast<double>(i) * each;
    AddSeen(*Analyze(distinct[i]), threads, progress.Part(begin, begin + each), &seen);
  }
  std::vector<PositionRanges> ranges;
  for (RunUnion& of_part : seen) {
    PositionRanges& of_this = ranges.emplace_back();
    for (const Run& run : of_part.Merge()) of_this.emplace_back(run.begin, run.end);
  }
  return ranges;
}

}  // namespace splashmask
