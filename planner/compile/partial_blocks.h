// SPDX-License-Identifier: Apache-2.0
#pragma once
// Step 3: equal partial blocks are found before they are drawn, drawn once, compared bit by bit and
// numbered in JAX's order. Private to compile.

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/block_store.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// The distinct partial blocks of all masks of a plan, for one block shape.
class PartialBlocks {
 public:
  PartialBlocks(BlockShape block, BlockStore::Keep keep) : block_(block), store_(block, keep) {}

  /// Settles every unknown block of a mask's grid and numbers its partial blocks (unless nothing is
  /// kept of them). Call once for each distinct mask, in order. Throws kTooLarge, kCancelled.
  BlockGrid Settle(const Analysis& analysis, const DraftGrid& draft, const Progress& progress,
                   Counters& counters);

  int64_t count() const { return count_; }
  BlockStore& store() { return store_; }

 private:
  /// Blocks that are known to be equal share a slot.
  struct Slot {
    int64_t row, column;  ///< The first of them, in row-major order.
    RectClass block_class;
    int32_t id = -1;
  };
  struct Slots {
    std::vector<Slot> slots;
    std::vector<int32_t> slot_of;    ///< Of each block that needs one, in row-major order.
    std::vector<int64_t> row_begin;  ///< Where each row's entries of slot_of begin.
  };
  struct Wave;

  bool NeedsSlot(RectClass block_class) const {
    return block_class == RectClass::kUnknown ||
           (block_class == RectClass::kPartial && store_.keep().any());
  }
  Slots FindSlots(const Analysis& analysis, const DraftGrid& draft, const Progress& progress) const;
  void DrawSlots(const Analysis& analysis, const Progress& progress, Counters& counters,
                 std::vector<Slot>& slots);
  void DrawWave(const Analysis& analysis, const Wave& wave) const;
  void NumberWave(const Wave& wave);
  BlockGrid Finish(const DraftGrid& draft, const Slots& slots, int64_t columns) const;

  BlockShape block_;
  BlockStore store_;
  int64_t count_ = 0;
  /// Blocks with one hash form a list: its newest id, and before each id the next older one or -1.
  boost::unordered_flat_map<uint64_t, int32_t> newest_;
  std::vector<int32_t> older_;
};

}  // namespace splashmask
