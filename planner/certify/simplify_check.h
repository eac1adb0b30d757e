// SPDX-License-Identifier: Apache-2.0
#pragma once
// Simplified masks held against the masks that they stand for.

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/certify/certify.h"

namespace splashmask::certify {

/// Which heads share tables, and what the kernel computes, follows from what Simplify makes of each
/// mask. That this has the cells of the mask itself is not taken from it: every cell of both is
/// evaluated here, for each distinct mask that Simplify changes.
class SimplifyCheck {
 public:
  /// `simple` is Simplify(mask).
  SimplifyCheck(const MultiHeadMask& mask, const MultiHeadMask& simple);

  /// Calls of RowProgress::FinishRow that Run makes.
  int64_t CountRows() const;
  /// Cells that Run evaluates, of the masks as they were written.
  int64_t CountCells() const;

  /// The first cell, by head, q and kv, where a head's simplified mask differs from its mask; its
  /// pass is left to the caller.
  std::optional<Mismatch> Run(RowProgress& progress) const;

 private:
  struct Changed {
    int64_t head;  // The first that has it.
    Mask mask, simple;
  };

  Shape shape_;
  std::vector<Changed> changed_;
};

}  // namespace splashmask::certify
