// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/block_grid.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <utility>

#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

using DraftRow = boost::container::small_vector<DraftRun, 4>;

void AppendRun(DraftRow& row, int64_t begin, int64_t end, RectClass block_class,
               bool alike = false) {
  if (block_class == RectClass::kEmpty) return;
  if (!row.empty() && row.back().end == begin && row.back().block_class == block_class &&
      !row.back().alike && !alike) {
    row.back().end = static_cast<int32_t>(end);
  } else {
    row.push_back({static_cast<int32_t>(begin), static_cast<int32_t>(end), block_class, alike});
  }
}

// Classifies the block rows of one band.
class Band {
 public:
  Band(const Analysis& analysis, BlockShape block, bool runs_are_few, DraftRow* rows)
      : analysis_(analysis), block_(block), runs_are_few_(runs_are_few), rows_(rows) {}

  // The block rows [begin, end), over all `columns`.
  void Classify(int64_t begin, int64_t end, int64_t columns) {
    for (int64_t row = begin; row < end;) {
      if (ReadAtOnce(row)) {
        ReadRow(row++, columns);
        continue;
      }
      int64_t stop = row + 1;
      while (stop < end && !ReadAtOnce(stop)) ++stop;
      Split(row, stop, 0, columns);
      row = stop;
    }
  }

  int64_t rectangles() const { return rectangles_; }
  int64_t runs() const { return runs_; }

 private:
  bool ReadAtOnce(int64_t row) const {
    return runs_are_few_ && analysis_.Scattered(row * block_.q, (row + 1) * block_.q);
  }

  // Step 1: halves the rectangle of blocks until each part has one class. Every row gets its runs
  // from left to right, as the left half comes before the right one.
  void Split(int64_t r0, int64_t r1, int64_t c0, int64_t c1) {
    ++rectangles_;
    const Rows rows{r0 * block_.q, (r1 - r0) * block_.q, 1};
    const KvRange kv{c0 * block_.kv, c1 * block_.kv};
    const RectClass found = analysis_.Classify(rows, kv);
    if (found == RectClass::kEmpty) return;
    const int64_t blocks = (r1 - r0) * (c1 - c0);
    const bool alike = found != RectClass::kFull && blocks > 1 && AreAlike(rows, kv, blocks);
    if (found == RectClass::kFull || blocks == 1 || alike) {
      for (int64_t row = r0; row < r1; ++row) AppendRun(rows_[row], c0, c1, found, alike);
      return;
    }
    if (r1 - r0 > c1 - c0) {
      const int64_t middle = r0 + (r1 - r0) / 2;
      Split(r0, middle, c0, c1);
      Split(middle, r1, c0, c1);
    } else {
      const int64_t middle = c0 + (c1 - c0) / 2;
      Split(r0, r1, c0, middle);
      Split(r0, r1, middle, c1);
    }
  }

  // Few blocks are split sooner than asked about.
  bool AreAlike(const Rows& rows, KvRange kv, int64_t blocks) {
    constexpr int64_t kFewBlocks = 8;
    if (blocks < kFewBlocks) return false;
    ++rectangles_;
    return analysis_.Repeats(rows, kv, block_.q, block_.kv);
  }

  // Step 2: counts the cells of each block of a row from the runs of its q rows; O(runs + blocks).
  void ReadRow(int64_t row, int64_t columns) {
    const KvRange kv{0, columns * block_.kv};
    cells_.assign(static_cast<size_t>(columns), 0);
    whole_.assign(static_cast<size_t>(columns) + 1, 0);
    for (int64_t q = row * block_.q; q < (row + 1) * block_.q; ++q) {
      analysis_.ReadRuns(q, kv, &q_runs_);
      runs_ += static_cast<int64_t>(q_runs_.size());
      for (const Run& run : q_runs_) Count(run);
    }
    int64_t whole = 0;
    for (int64_t column = 0; column < columns; ++column) {
      whole += whole_[column];
      const int64_t cells = cells_[column] + whole * block_.kv;
      AppendRun(rows_[row], column, column + 1,
                cells == 0                      ? RectClass::kEmpty
                : cells == block_.q * block_.kv ? RectClass::kFull
                                                : RectClass::kPartial);
    }
  }

  void Count(const Run& run) {
    const int64_t first = run.begin / block_.kv;
    const int64_t last = (run.end - 1) / block_.kv;
    if (first == last) {
      cells_[first] += run.end - run.begin;
      return;
    }
    cells_[first] += (first + 1) * block_.kv - run.begin;
    cells_[last] += run.end - last * block_.kv;
    // Whole blocks between them: a difference array, summed up at the end.
    ++whole_[first + 1];
    --whole_[last];
  }

  const Analysis& analysis_;
  const BlockShape block_;
  const bool runs_are_few_;
  DraftRow* rows_;
  int64_t rectangles_ = 0, runs_ = 0;
  Runs q_runs_;
  std::vector<int64_t> cells_, whole_;
};

}  // namespace

DraftGrid ClassifyBlocks(const Analysis& analysis, BlockShape block, const Progress& progress,
                         Counters& counters) {
  const int64_t rows = analysis.shape().q_len / block.q;
  const int64_t columns = analysis.shape().kv_len / block.kv;
  // Reading runs beats drawing bits when a row has fewer runs than a quarter of its words.
  const bool runs_are_few =
      analysis.RunsPerRow() * 256 <= static_cast<double>(analysis.shape().kv_len);

  std::vector<DraftRow> drafts(static_cast<size_t>(rows));
  constexpr int64_t kBand = 32;
  ParallelFor((rows + kBand - 1) / kBand, [&](int64_t i) {
    progress.ThrowIfStopped();
    Band band(analysis, block, runs_are_few, drafts.data());
    band.Classify(i * kBand, std::min(rows, (i + 1) * kBand), columns);
    counters.rectangles += band.rectangles();
    counters.runs += band.runs();
  });

  DraftGrid grid;
  grid.row_begin.reserve(static_cast<size_t>(rows) + 1);
  grid.row_begin.push_back(0);
  for (const DraftRow& row : drafts) {
    grid.row_begin.push_back(grid.row_begin.back() + static_cast<int64_t>(row.size()));
  }
  grid.runs.resize(static_cast<size_t>(grid.row_begin.back()));
  for (int64_t row = 0; row < rows; ++row) {
    std::copy(drafts[row].begin(), drafts[row].end(), grid.runs.begin() + grid.row_begin[row]);
  }
  return grid;
}

}  // namespace splashmask
