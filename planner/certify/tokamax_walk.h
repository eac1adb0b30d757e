// SPDX-License-Identifier: Apache-2.0
#pragma once
// What tokamax's process_mask and process_mask_dkv put into their lists, from the truth about
// blocks.

#include <cstdint>
#include <vector>

#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/tokamax_mask_info.h"

namespace splashmask::certify {

/// The blocks that the kernel visits, in order: shard after shard, q shards outer, kv shards inner;
/// in each by row, then by column, where dkv has kv blocks for rows. Each shard is padded to the
/// longest.
class TokamaxWalk {
 public:
  /// Needs a truth of one mask. The blocks and shards of `options` divide its shape.
  TokamaxWalk(const BlockTruth& truth, const TokamaxPassOptions& options, bool is_dkv,
              RowProgress& progress);

  /// What it tells `progress`: rows of all shards.
  static int64_t CountRows(Shape shape, const TokamaxPassOptions& options, bool is_dkv);

  /// Whether every cell is visible: then the lists are absent.
  bool is_full() const { return is_full_; }
  int64_t size() const { return std::ssize(visits_); }
  bool IsPadding(int64_t i) const { return visits_[static_cast<size_t>(i)] < 0; }
  /// The block of visit i, which is no padding.
  BlockAt At(int64_t i) const { return truth_.At(visits_[static_cast<size_t>(i)]); }

  /// The lists, one value for each visit.
  std::vector<int32_t> Rows() const;
  std::vector<int32_t> Columns() const;
  std::vector<int32_t> Classes() const;
  /// `ids`: the partial block of each block of the truth, by index.
  std::vector<int32_t> MaskNext(const std::vector<int32_t>& ids) const;
  /// Visits of each shard, without padding.
  const std::vector<int32_t>& counts() const { return counts_; }

 private:
  std::vector<int64_t> VisitsOfShard(int64_t q0, int64_t kv0, RowProgress& progress) const;
  /// value(block index) of each visit, -1 for padding.
  template <typename Value>
  std::vector<int32_t> List(Value value) const;

  const BlockTruth& truth_;
  const bool is_dkv_, dynamic_grid_;
  int64_t q_size_, kv_size_;  // Blocks of a shard.
  bool is_full_;
  std::vector<int64_t> visits_;  // Block indices of the truth; -1 is padding.
  std::vector<int32_t> counts_;
};

}  // namespace splashmask::certify
