// SPDX-License-Identifier: Apache-2.0
#pragma once
// How many pairs a mask lets through, without visiting its cells.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// Half-open ranges of positions.
struct PairRectangle {
  int64_t q_begin = 0, q_end = 0;
  int64_t kv_begin = 0, kv_end = 0;
};

/// The pairs of each head, [num_heads], in a rectangle or everywhere. Heads that share a mask are
/// counted once; each mask in time proportional to its rows and their runs, and less where whole
/// rows are alike. Throws kInvalidArgument for a rectangle beyond the mask, kTooLarge for more
/// pairs than 64 bits count, kCancelled.
std::vector<int64_t> CountPairs(const MultiHeadMask& mask,
                                const std::optional<PairRectangle>& where = {}, int threads = 0,
                                const Progress& progress = {});

/// The pairs of each row of a rectangle, [q_end - q_begin]. Throws as CountPairs does.
std::vector<int64_t> CountPairsOfRows(const Mask& mask,
                                      const std::optional<PairRectangle>& where = {},
                                      int threads = 0, const Progress& progress = {});

}  // namespace splashmask
