// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the cells of the distinct masks say about a grid of blocks.

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "splashmask/planner/certify/cells.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/progress.h"

namespace splashmask::certify {

/// Counts block rows from many threads and passes their share on to a Progress.
class RowProgress {
 public:
  RowProgress(const Progress& progress, int64_t total) : progress_(progress), total_(total) {}

  /// Throws kCancelled when the caller asked to stop.
  void FinishRow();

 private:
  const Progress& progress_;
  const int64_t total_;
  std::atomic<int64_t> done_ = 0;
  std::mutex mutex_;
};

/// One block of one distinct mask.
struct BlockAt {
  int64_t mask = 0, q_block = 0, kv_block = 0;
};

/// Rows and columns of one distinct mask that attend to nothing.
struct EmptyPositions {
  EmptyRanges rows, columns;
};

/// Classes of every block of every distinct mask, from every cell.
class BlockTruth {
 public:
  /// Evaluates all cells.
  BlockTruth(const std::vector<CellProgram>& programs, Shape shape, BlockShape block,
             RowProgress& progress);

  Shape shape() const { return shape_; }
  BlockShape block() const { return block_; }
  int64_t masks() const { return std::ssize(*programs_); }
  int64_t q_blocks() const { return shape_.q_len / block_.q; }
  int64_t kv_blocks() const { return shape_.kv_len / block_.kv; }
  int64_t size() const { return std::ssize(classes_); }  ///< Blocks of all masks.

  /// Blocks are numbered by mask, q block, kv block: the order in which JAX meets them.
  int64_t Index(const BlockAt& at) const {
    return (at.mask * q_blocks() + at.q_block) * kv_blocks() + at.kv_block;
  }
  BlockAt At(int64_t index) const;
  BlockClass ClassOf(int64_t index) const { return classes_[static_cast<size_t>(index)]; }
  const std::vector<CellProgram>& programs() const { return *programs_; }
  const std::vector<EmptyPositions>& empty() const { return empty_; }  ///< Of each mask.

 private:
  const std::vector<CellProgram>* programs_;
  Shape shape_;
  BlockShape block_;
  std::vector<BlockClass> classes_;
  std::vector<EmptyPositions> empty_;
};

}  // namespace splashmask::certify
