// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a kernel's grid does with a plan's tables, counted without walking it head by head: steps
// by class, and copies of blocks.

#include <array>
#include <cstdint>
#include <vector>

#include "splashmask/planner/plan.h"

namespace splashmask {

/// The grid of one call, on one shard, for one sequence. A block is copied between HBM and VMEM
/// when a step's index is not that of the step before: the rule that kernels/trace.h follows step
/// by step.
struct StepCounts {
  /// fwd and dq: heads, q blocks, width of the tables. dkv: kv blocks, heads, height.
  std::array<int64_t, 3> grid{};
  int64_t skipped = 0, partial = 0, full = 0;
  /// How often the kernel starts an output block, and writes it: fwd and dq: heads and q blocks;
  /// dkv: kv heads and kv blocks.
  int64_t outputs = 0;

  // Copies of an operand's blocks, by what tells its blocks apart.
  int64_t q_copies = 0;        ///< Head and q block: q, do, out, dq, logsumexp, di.
  int64_t kv_copies = 0;       ///< Kv head and kv block: k, v, dk, dv.
  int64_t q_only_copies = 0;   ///< q block: q_sequence and segment ids of q.
  int64_t kv_only_copies = 0;  ///< kv block: segment ids of kv.
  int64_t partial_copies = 0;  ///< Entries of partial_mask_blocks, if there are any.

  bool computes_mask = false;  ///< q_sequence is an operand.
  bool stores_mask = false;    ///< partial_mask_blocks is.
  bool is_static = false;      ///< tokamax without lists: every block is visited, without a look.

  int64_t steps() const { return skipped + partial + full; }
  int64_t visited() const { return partial + full; }
  friend bool operator==(const StepCounts&, const StepCounts&) = default;
};

/// The counts of each shard, q shards innermost. O(size of the tables), however many heads share
/// an entry. Throws kInvalidArgument when the plan lacks the pass or kv_heads does not divide its
/// heads (or, of shards, the kv heads of one), kDamaged when its tables have no shape that the plan
/// can have.
std::vector<StepCounts> CountSteps(const Plan& plan, Pass pass, int64_t kv_heads);

/// The same for a pass in tokamax's dialect, kv shards innermost; grid is {heads, visits, 1}, or,
/// for dkv without lists, {kv blocks, heads, q blocks}. Its kernel has no prefetching tables: an
/// operand's index is that of the visited block.
std::vector<StepCounts> CountTokamaxSteps(const Plan& plan, Pass pass, int64_t kv_heads);

}  // namespace splashmask
