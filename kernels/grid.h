// SPDX-License-Identifier: Apache-2.0
#pragma once
// The grid of one pass as the kernel numbers it, and what the tables say at each of its steps.
// Private to kernels/.

#include <array>
#include <cstdint>

#include "splashmask/planner/plan.h"

namespace splashmask {

/// A step, in heads and blocks of the whole mask.
struct GridStep {
  int64_t head = 0, q_block = 0, kv_block = 0;  ///< What is in VMEM, also when it is skipped.
  int32_t block_class = 0;                      ///< 0: skipped.
  int32_t stored = 0;                           ///< The partial block in VMEM; 0 without any.
};

class Grid {
 public:
  /// Borrows `plan`, whose tables can be walked.
  Grid(const Plan& plan, Pass pass);

  int64_t head_shards() const { return head_shards_; }
  int64_t q_seq_shards() const { return q_seq_shards_; }
  /// Of each shard; the last axis innermost. fwd and dq: heads, q blocks, width. dkv: kv blocks,
  /// heads, height.
  const std::array<int64_t, 3>& shape() const { return shape_; }

  /// `program`: jax.experimental.pallas.program_id of each axis, in one shard.
  GridStep At(int64_t head_shard, int64_t q_shard, const std::array<int64_t, 3>& program) const;

 private:
  const MaskInfo& info_;
  const bool is_dkv_;
  int64_t head_shards_, q_seq_shards_;
  int64_t heads_per_entry_, q_blocks_per_shard_;
  std::array<int64_t, 3> shape_;
};

}  // namespace splashmask
