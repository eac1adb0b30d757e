// SPDX-License-Identifier: Apache-2.0
#pragma once
// The block lists that tokamax's splash attention reads, under its names.

#include <cstdint>
#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/masks/mask.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask {

/// tokamax's MaskInfo. A field that is None there is nullopt here. A list has one entry for each
/// block that the kernel visits, in the order of its visits; the lists of the shards follow each
/// other (q shards outer, kv shards inner), each padded with -1 to the longest. Rows are blocks of
/// q in fwd and of kv in dkv, columns the other way round; both count from the start of their
/// shard.
///
/// When the whole mask is visible, every field but q_sequence is nullopt.
struct TokamaxMaskInfo {
  /// The entry of partial_mask_blocks to fetch: that of this visit, or of the next one that has
  /// one, wrapping around in the shard; -1 throughout a shard without partial blocks.
  std::optional<Array> mask_next;
  std::optional<Array> active_rows;        ///< Only with return_dynamic_grid.
  std::optional<Array> active_cols;        ///< Only with return_dynamic_grid.
  std::optional<Array> block_mask;         ///< 0 empty, 1 partial, 2 full.
  std::optional<Array> num_active_blocks;  ///< int32[shards]; only with return_dynamic_grid.
  std::optional<PartialMaskBlocks> partial_mask_blocks;
  std::optional<Array> q_sequence;  ///< [q_len], the dtype of the positions (int32 by default).

  friend bool operator==(const TokamaxMaskInfo&, const TokamaxMaskInfo&) = default;
};

/// What a pass was asked for, under the names of tokamax's process_mask. (Its
/// partial_mask_blocks_dtype is not here: blocks are bits until somebody expands them.)
struct TokamaxPassOptions {
  BlockShape block;
  int64_t q_seq_shards = 1;
  int64_t kv_seq_shards = 1;
  bool downcast_smem_data = true;
  /// List visible blocks alone (and, in dkv, the first block of each row that has none, so that its
  /// output is initialised). Otherwise every block has an entry and the kernel's grid is static.
  bool return_dynamic_grid = true;
  bool simplify = false;  ///< As PlanOptions has it; tokamax itself knows no such thing.

  friend bool operator==(const TokamaxPassOptions&, const TokamaxPassOptions&) = default;
};

/// One pass in the tokamax dialect, and what it was asked for.
struct TokamaxPass {
  TokamaxPassOptions options;
  TokamaxMaskInfo info;
  /// Set when the kernel computes the mask itself: the mask as a function of q and kv positions,
  /// without reordering (the positions are info.q_sequence).
  std::optional<Mask> mask_function;

  friend bool operator==(const TokamaxPass&, const TokamaxPass&) = default;
};

}  // namespace splashmask
