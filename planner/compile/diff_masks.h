// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether two masks are equal as functions on their shape, and where they differ.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// A pair that attends in one of two masks alone.
struct DifferingPair {
  int64_t q = 0, kv = 0;
  bool a = false, b = false;  ///< What the two masks say of it.
  friend bool operator==(const DifferingPair&, const DifferingPair&) = default;
};

struct MaskDifference {
  int64_t cells = 0;  ///< How many pairs differ.
  /// The one with the smallest q, and of those the smallest kv; nothing for equal masks.
  std::optional<DifferingPair> first;

  bool is_equal() const { return cells == 0; }
  friend bool operator==(const MaskDifference&, const MaskDifference&) = default;
};

/// How the masks of each head differ, [num_heads], whatever their expressions look like. Heads that
/// share their masks are compared once. The same expression costs nothing, a change in a part of it
/// only what that part costs, and otherwise time is proportional to rows and their runs. Throws
/// kInvalidArgument unless both have one shape and number of heads, kTooLarge for more cells than
/// 64 bits count, kCancelled.
std::vector<MaskDifference> DiffMasks(const MultiHeadMask& a, const MultiHeadMask& b,
                                      int threads = 0, const Progress& progress = {});

}  // namespace splashmask
