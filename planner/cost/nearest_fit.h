// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where a kernel does not fit: the nearest blocks that do.

#include <cstdint>
#include <functional>
#include <optional>

#include "splashmask/planner/cost/footprint.h"

namespace splashmask {

/// The tables of the pass for other blocks; nullopt where they cannot be had.
using TablesOfBlocks = std::function<std::optional<PassTables>(const KernelBlocks&)>;

/// The legal blocks nearest to the config's own that surely fit: those whose sizes differ from them
/// by the fewest doublings and halvings in all, larger ones first among equals. nullopt: none
/// within kFarthest times. `tables_of` is asked only for blocks that fit VMEM, and may throw to
/// give up.
inline constexpr int64_t kFarthest = 16;
std::optional<KernelBlocks> NearestThatFits(const TpuSpec& spec, TpuKernel kernel,
                                            const AttentionConfig& config, int64_t limit,
                                            const TablesOfBlocks& tables_of);

}  // namespace splashmask
