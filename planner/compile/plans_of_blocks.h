// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tables of whatever block shapes somebody asks for, as far as they are small enough.

#include <cstdint>
#include <functional>
#include <optional>

#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

struct UsableOptions {
  PlanOptions plan = {};
  int64_t most_bytes = 0;  ///< That tables may take, of all shards.
  int threads = 0;         ///< 0: as many as the machine has.
  Progress progress = {};
  /// Blocks of all distinct masks that are looked at whether or not tables of so many are asked
  /// for.
  int64_t easy_blocks = int64_t{1} << 20;
};

/// CoarsePlans::Find for blocks that are multiples of `least`. Looks at the mask when first called,
/// mostly once, and no closer than tables of most_bytes need. Throws as CoarsePlans does.
std::function<std::optional<Plan>(Pass pass, BlockShape block, bool is_fused)> PlansOfBlocks(
    const MultiHeadMask& mask, BlockShape least, const UsableOptions& options);

}  // namespace splashmask
