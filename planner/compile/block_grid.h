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

/// Block columns [begin, end) of one block row with one class; empty blocks have no run.
template <typename Class>
struct ClassRun {
  int32_t begin, end;
  Class block_class;
};

/// Rows of runs, one after another.
template <typename Class>
struct RunRows {
  std::vector<int64_t> row_begin;  ///< Of each row, then the end of the last.
  std::vector<ClassRun<Class>> runs;

  int64_t rows() const { return static_cast<int64_t>(row_begin.size()) - 1; }
  std::span<const ClassRun<Class>> row(int64_t index) const {
    return std::span(runs).subspan(static_cast<size_t>(row_begin[index]),
                                   static_cast<size_t>(row_begin[index + 1] - row_begin[index]));
  }
};

/// A grid whose blocks may still be unknown (kUnknown) after what classifying and runs could tell.
using DraftGrid = RunRows<RectClass>;

/// The finished grid of one mask: kPartial and kFull runs, and the number of each partial block.
struct BlockGrid : RunRows<BlockClass> {
  /// Of each partial block in row-major order; empty when partial blocks are not numbered.
  std::vector<int32_t> partial_ids;
  std::vector<int64_t> partial_begin;  ///< Where each row's ids begin, then the end of the last's.
  int64_t columns = 0;
};

/// Classifies every block of a mask. Runs on the caller's TBB arena. Throws kCancelled.
DraftGrid ClassifyBlocks(const Analysis& analysis, BlockShape block, const Progress& progress,
                         Counters& counters);

}  // namespace splashmask
