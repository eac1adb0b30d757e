// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tables of many block shapes from one look at a mask.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// Classifies the blocks of a mask once, as fine as is asked for, and makes the tables of coarser
/// blocks from these. Not for several threads at a time.
class CoarsePlans {
 public:
  /// Throws as Compile does for a forward pass with these blocks, whose tables are not made.
  CoarsePlans(const MultiHeadMask& mask, BlockShape finest, const PlanOptions& options,
              int threads = 0, const Progress& progress = {});
  CoarsePlans(CoarsePlans&&) noexcept;
  CoarsePlans& operator=(CoarsePlans&&) noexcept;
  ~CoarsePlans();

  /// A plan with that pass alone, for blocks which the finest divide and which divide the mask's
  /// shape: what Compile makes, but partial_mask_blocks has its shape and no bits (data() is null).
  /// Of `options` use_fused_bwd_kernel does not count: `is_fused` says so. nullopt where the tables
  /// take more than `most_bytes` in all. Throws kInvalidArgument for blocks that do not divide.
  std::optional<Plan> Find(Pass pass, BlockShape block, bool is_fused, int64_t most_bytes);

  /// Bytes that the tables of any pass with these blocks take at least, whether or not the finest
  /// divide them.
  int64_t LeastTableBytes(BlockShape block) const;

 private:
  class State;
  std::unique_ptr<State> state_;
};

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
