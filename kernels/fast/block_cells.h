// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cells of partial blocks, as tasks ask for them. Private to kernels/.

#include <cstdint>

#include "splashmask/kernels/fast/task.h"
#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::fast {

/// The stored blocks of fwd or dq.
class StoredCells : public TileCells {
 public:
  /// Borrows `blocks`.
  explicit StoredCells(const PartialMaskBlocks& blocks) : blocks_(&blocks) {}

  Drawn Draw(int64_t block, int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
             uint64_t* lanes) const override;

 private:
  const PartialMaskBlocks* blocks_;
};

/// The stored blocks of dkv, which lie transposed. `first_row` is a multiple of 8.
class TransposedCells : public TileCells {
 public:
  /// Borrows `blocks`.
  explicit TransposedCells(const PartialMaskBlocks& blocks) : blocks_(&blocks) {}

  Drawn Draw(int64_t block, int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
             uint64_t* lanes) const override;

 private:
  const PartialMaskBlocks* blocks_;
};

/// A mask that is computed: the whole of it is one block.
class ComputedCells : public TileCells {
 public:
  /// Borrows `mask`.
  explicit ComputedCells(const Analysis& mask) : mask_(&mask) {}

  Drawn Draw(int64_t block, int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
             uint64_t* lanes) const override;

 private:
  const Analysis* mask_;
};

}  // namespace splashmask::fast
