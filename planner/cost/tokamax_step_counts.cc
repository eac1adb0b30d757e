// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <optional>

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/plan_statistics.h"

namespace splashmask {

namespace {

// The visits of one head, in the order of the lists: blocks of the axis that stays, and in each
// those of the other.
struct Visits {
  int64_t empty = 0, partial = 0, full = 0;
  int64_t rows = 0;     ///< Of the axis that stays, with a visit or (dkv) without.
  int64_t columns = 0;  ///< Times that the other axis' block is not that of the step before.
  int64_t first = -1, last = -1;

  void Add(int64_t column, BlockClass block) {
    empty += block == BlockClass::kEmpty;
    partial += block == BlockClass::kPartial;
    full += block == BlockClass::kFull;
    columns += column != last;
    if (first < 0) first = column;
    last = column;
  }
  int64_t count() const { return empty + partial + full; }
};

// Blocks [row_begin, row_end) by [column_begin, column_end) of a grid; rows are those of the pass.
struct GridPart {
  const BlockClassGrid& grid;
  bool is_dkv, is_dynamic;
  int64_t row_begin, row_end, column_begin, column_end;

  BlockClass At(int64_t row, int64_t column) const {
    return is_dkv ? grid.At(column, row) : grid.At(row, column);
  }

  Visits Walk() const {
    Visits visits;
    for (int64_t row = row_begin; row < row_end; ++row) {
      const int64_t before = visits.count();
      for (int64_t column = column_begin; column < column_end; ++column) {
        const BlockClass block = At(row, column);
        if (is_dynamic && block == BlockClass::kEmpty) continue;
        visits.Add(column, block);
      }
      // A row of dkv that nobody sees is visited once, for its output to be written.
      if (visits.count() == before && is_dkv) visits.Add(column_begin, BlockClass::kEmpty);
      visits.rows += visits.count() > before;
    }
    return visits;
  }
};

StepCounts CountShard(const GridPart& shard, const TokamaxMaskInfo& info, int64_t heads,
                      int64_t kv_heads) {
  const Visits visits = shard.Walk();
  StepCounts counts;
  counts.is_static = !shard.is_dynamic;
  counts.computes_mask = info.q_sequence.has_value();
  counts.stores_mask = info.partial_mask_blocks.has_value();
  counts.skipped = heads * visits.empty;
  counts.partial = heads * visits.partial;
  counts.full = heads * visits.full;
  // Every visit may name another partial block; how often it does is not in the grid.
  counts.partial_copies = counts.stores_mask ? counts.partial : 0;
  const bool returns = visits.first == visits.last;  // The next head starts where this one ends.
  const int64_t column_only = heads * visits.columns - (returns ? heads - 1 : 0);
  if (!shard.is_dkv) {
    counts.grid = {heads, visits.count(), 1};
    counts.outputs = counts.q_copies = heads * visits.rows;
    counts.q_only_copies = visits.rows == 1 ? 1 : heads * visits.rows;
    counts.kv_only_copies = column_only;
    counts.kv_copies = column_only + (returns ? kv_heads - 1 : 0);
    return counts;
  }
  counts.q_copies = heads * visits.columns;
  counts.q_only_copies = column_only;
  counts.kv_only_copies = visits.rows == 1 ? 1 : heads * visits.rows;
  if (shard.is_dynamic) {  // Heads are outermost: gradients of a group's kv head come and go.
    counts.grid = {heads, visits.count(), 1};
    counts.outputs = heads * visits.rows;
    counts.kv_copies = visits.rows == 1 ? kv_heads : heads * visits.rows;
  } else {
    if (visits.columns == 1) {  // One q block: only heads change.
      counts.q_copies = heads > 1 ? heads * visits.rows : 1;
      counts.q_only_copies = 1;
    }
    counts.kv_only_copies = visits.rows;
    counts.grid = {visits.rows, heads, shard.column_end - shard.column_begin};
    counts.outputs = counts.kv_copies = kv_heads * visits.rows;
  }
  return counts;
}

}  // namespace

std::vector<StepCounts> CountTokamaxSteps(const Plan& plan, Pass pass, int64_t kv_heads) {
  const int64_t heads = plan.mask.num_heads();
  if (kv_heads < 1 || heads % kv_heads != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[plan] expected kv_heads ({}) to divide the heads of the mask ({})",
                            kv_heads, heads));
  }
  const BlockClassGrid grid = LayOutTokamaxBlocks(plan, pass);
  const auto& [options, info, mask_function] = *plan.tokamax_pass(pass);
  const bool is_dkv = pass == Pass::kDkv;
  const bool is_dynamic = info.block_mask && options.return_dynamic_grid;
  const int64_t q_size = grid.q_blocks / options.q_seq_shards;
  const int64_t kv_size = grid.kv_blocks / options.kv_seq_shards;
  std::vector<StepCounts> shards;
  for (int64_t q = 0; q < grid.q_blocks; q += q_size) {
    for (int64_t kv = 0; kv < grid.kv_blocks; kv += kv_size) {
      const GridPart shard =
          is_dkv ? GridPart{grid, true, is_dynamic, kv, kv + kv_size, q, q + q_size}
                 : GridPart{grid, false, is_dynamic, q, q + q_size, kv, kv + kv_size};
      shards.push_back(CountShard(shard, info, heads, kv_heads));
    }
  }
  return shards;
}

}  // namespace splashmask
