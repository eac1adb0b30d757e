// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cells of partial blocks, as tasks ask for them. Private to kernels/.

#include <cstdint>

#include "splashmask/kernels/fast/task.h"
#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::fast {

/// One stored block of fwd or dq, from one of its rows on.
class StoredCells : public TileCells {
 public:
  StoredCells(const PartialMaskBlocks& blocks, int64_t id, int64_t first_row, int64_t kv_begin)
      : blocks_(&blocks), id_(id), first_row_(first_row), kv_begin_(kv_begin) {}

  void Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
            uint64_t* lanes) const override;

 private:
  const PartialMaskBlocks* blocks_;
  int64_t id_, first_row_, kv_begin_;
};

/// A mask that is computed, from one of its rows on.
class ComputedCells : public TileCells {
 public:
  ComputedCells(const Analysis& mask, int64_t first_row) : mask_(&mask), first_row_(first_row) {}

  void Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
            uint64_t* lanes) const override;

 private:
  const Analysis* mask_;
  int64_t first_row_;
};

}  // namespace splashmask::fast
