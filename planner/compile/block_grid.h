// SPDX-License-Identifier: Apache-2.0
#pragma once
// Steps 1 and 2: the class of every block of one mask, as runs along each block row. Private to
// compile.

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// Counters that worker threads add to.
struct Counters {
  std::atomic<int64_t> rectangles{0}, runs{0}, blocks_drawn{0}, cells{0};
};

/// Rows of runs of block columns, one after another; empty blocks have no run.
template <typename Run>
struct RunRows {
  std::vector<int64_t> row_begin;  ///< Of each row, then the end of the last.
  std::vector<Run> runs;

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  std::span<const Run> row(int64_t index) const {
    return std::span(runs).subspan(static_cast<size_t>(row_begin[index]),
                                   static_cast<size_t>(row_begin[index + 1] - row_begin[index]));
  }
};

/// Block columns [begin, end) that may still be unknown (kUnknown) after what classifying and runs
/// could tell.
struct DraftRun {
  int32_t begin, end;
  RectClass block_class;
  bool alike;  ///< The blocks are known to hold the same cells.
};
using DraftGrid = RunRows<DraftRun>;

/// Partial blocks that have no number, and whatever else there is not.
inline constexpr int32_t kNone = -1;

/// Block columns [begin, end) with one class and, where partial blocks are numbered, one number.
struct GridRun {
  int32_t begin, end;
  BlockClass block_class;
  int32_t id = kNone;

  friend bool operator==(const GridRun&, const GridRun&) = default;
};

/// The finished grid of one mask: kPartial and kFull runs, as long as can be.
struct BlockGrid : RunRows<GridRun> {
  int64_t columns = 0;
};

class KnownRows;

/// Classifies every block of a mask, but those that are `known`. Runs on the caller's TBB arena.
/// Throws kCancelled.
DraftGrid ClassifyBlocks(const Analysis& analysis, BlockShape block, const KnownRows* known,
                         const Progress& progress, Counters& counters);

}  // namespace splashmask
