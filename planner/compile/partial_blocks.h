// SPDX-License-Identifier: Apache-2.0
#pragma once
// Steps 1 to 3: blocks are classified; equal partial ones are found before they are drawn, drawn
// once, compared bit by bit and numbered in JAX's order. Private to compile.

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/block_index.h"
#include "splashmask/planner/compile/block_slots.h"
#include "splashmask/planner/compile/block_store.h"
#include "splashmask/planner/compile/known_rows.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// The distinct partial blocks of all masks of a plan, for one block shape.
class PartialBlocks {
 public:
  /// Blocks of `known` are neither drawn nor stored anew.
  PartialBlocks(BlockShape block, BlockStore::Keep keep, KnownGrids known = {})
      : block_(block), known_(std::move(known)), store_(block, keep) {}

  const KnownGrids& known() const { return known_; }

  /// Steps 1 to 3 for a mask: the class of every block, and a number for each partial one (unless
  /// nothing is kept of them). `known_rows` are of that mask, if any are. Call once for each
  /// distinct mask, in order. Runs on the caller's TBB arena. Throws kTooLarge, kCancelled.
  BlockGrid Find(const Analysis& analysis, const KnownRows* known_rows, const Progress& progress,
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
  int32_t FindKnown(uint64_t hash, BitRows drawn);
  BlockGrid Finish(const DraftGrid& draft, const Slots& slots, int64_t columns) const;

  BlockShape block_;
  const KnownGrids known_;
  BlockStore store_;
  int64_t count_ = 0;
  BlockIndex drawn_;  ///< Blocks that are not known.
  std::optional<BlockIndex> known_index_;
  std::vector<int32_t> number_of_known_;  ///< kNone where it has none yet.
};

}  // namespace splashmask
