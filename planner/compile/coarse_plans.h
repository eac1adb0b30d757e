// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tables of many block shapes from one look at a mask.

#include <cstdint>
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

}  // namespace splashmask
