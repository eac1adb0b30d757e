// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which kv positions parts of the q rows see.

#include <cstdint>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// Of each of `parts` equal parts of the rows, in order, the kv positions that any of its rows sees
/// in any head: sorted, not touching. In time proportional to the rows and their runs, and less
/// where whole rows are alike. Throws kInvalidArgument unless `parts` divides q_len, kCancelled.
std::vector<PositionRanges> SeenKvRanges(const MultiHeadMask& mask, int64_t parts, int threads = 0,
                                         const Progress& progress = {});

}  // namespace splashmask
