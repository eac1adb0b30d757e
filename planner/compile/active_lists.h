// SPDX-License-Identifier: Apache-2.0
#pragma once
// Step 4 of the tokamax dialect: a grid -> lists of blocks, shard after shard. Private to compile.

#include <cstdint>
#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// What the lists of one pass are made from.
struct ActiveListInputs {
  const BlockGrid& grid;
  bool is_dkv;  ///< The lists follow the transposed grid: rows are blocks of kv, columns of q.
  /// List visible blocks alone; otherwise every block has an entry, and its place in the list says
  /// which block it is.
  bool active_only;
  int64_t q_seq_shards, kv_seq_shards;
  bool downcast;
  int64_t num_partial;  ///< Distinct partial blocks; 0: there is no mask_next.

  int64_t q_blocks() const { return grid.rows() / q_seq_shards; }
  int64_t kv_blocks() const { return grid.columns / kv_seq_shards; }
  int64_t shards() const { return q_seq_shards * kv_seq_shards; }
  /// Rows of one shard, as the kernel walks them, and blocks in each.
  int64_t lines() const { return is_dkv ? kv_blocks() : q_blocks(); }
  int64_t line_blocks() const { return is_dkv ? q_blocks() : kv_blocks(); }
};

/// One list a field; those of the shards follow each other (q outer, kv inner), padded with -1 to
/// the longest. Rows and columns count from the start of their shard.
struct ActiveLists {
  std::optional<Array> mask_next, active_rows, active_cols;
  Array block_mask;
  std::optional<Array> num_active_blocks;  ///< int32[shards]
};

/// Runs on the caller's TBB arena. Throws kTooLarge when the lists do not fit in memory,
/// kCancelled.
ActiveLists BuildActiveLists(const ActiveListInputs& in, const Progress& progress);

}  // namespace splashmask
