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
  /// For dkv, tables of the fused backward kernel if options.use_fused_bwd_kernel is, or
  /// `is_fused`. nullopt where the tables take more than `most_bytes` in all. Throws
  /// kInvalidArgument for blocks that do not divide.
  std::optional<Plan> Find(Pass pass, BlockShape block, bool is_fused, int64_t most_bytes);

 private:
  class State;
  std::unique_ptr<State> state_;
};

/// CoarsePlans::Find for blocks whose tables take at most `most_bytes`, all of them multiples of
/// `least`. Looks at the mask when first called, and no closer than such tables need. nullopt for
/// others. Throws as CoarsePlans does.
std::function<std::optional<Plan>(Pass pass, BlockShape block, bool is_fused)> PlansOfBlocks(
    const MultiHeadMask& mask, BlockShape least, const PlanOptions& options, int64_t most_bytes,
    int threads = 0, const Progress& progress = {});

}  // namespace splashmask
