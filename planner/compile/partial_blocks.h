// SPDX-License-Identifier: Apache-2.0
#pragma once
// Step 3: equal partial blocks are found before they are drawn, drawn once, compared bit by bit and
// numbered in JAX's order. Private to compile.

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/block_slots.h"
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
  struct Wave;

  void DrawSlots(const Analysis& analysis, const Progress& progress, Counters& counters,
                 std::vector<Slot>& slots);
  void DrawWave(const Analysis& analysis, Wave& wave) const;
  void DrawPiece(const Analysis& analysis, Wave& wave, size_t begin, size_t end,
                 int64_t piece) const;
  void Conclude(Wave& wave, size_t i) const;
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
