// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which blocks of a grid are known to be equal before they are drawn. Private to compile.

#include <cstdint>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// Blocks that are known to be equal share a slot.
struct Slot {
  int64_t row, column;  ///< The first of them, in row-major order.
  RectClass block_class;
  int32_t id = kNone;
};

struct Slots {
  std::vector<Slot> slots;
  /// Of each block that needs one, in row-major order; runs of equal blocks have one entry.
  std::vector<int32_t> slot_of;
  std::vector<int64_t> row_begin;  ///< Where each row's entries of slot_of begin.
};

/// Unknown blocks need a slot; partial ones do when they are `numbered`.
inline bool NeedsSlot(RectClass block_class, bool numbered) {
  return block_class == RectClass::kUnknown || (block_class == RectClass::kPartial && numbered);
}

/// Runs on the caller's TBB arena. Throws kCancelled.
Slots FindSlots(const Analysis& analysis, BlockShape block, const DraftGrid& draft, bool numbered,
                const Progress& progress);

}  // namespace splashmask
