// SPDX-License-Identifier: Apache-2.0
#pragma once
// What attention over each q block of a mask costs.

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/part_work.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// The work of each q block over all heads, [q_len / block.q], exactly: pairs as CountPairs counts
/// them, blocks as a compile classifies them, but none is stored. Throws kInvalidArgument where a
/// block does not divide its axis, kTooLarge, kCancelled.
PartWork MeasureQBlocks(const MultiHeadMask& mask, BlockShape block, int threads = 0,
                        const Progress& progress = {});

}  // namespace splashmask
