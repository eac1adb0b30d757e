// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/grid.h"

namespace splashmask {

Grid::Grid(const Plan& plan, Pass pass)
    : info_(plan.pass(pass)->info),
      is_dkv_(pass == Pass::kDkv),
      head_shards_(plan.options.head_shards),
      q_seq_shards_(plan.options.q_seq_shards) {
  const auto [entries, rows, columns] = info_.block_mask->shape();
  const int64_t heads = plan.mask.num_heads();
  heads_per_entry_ = heads / entries;
  q_blocks_per_shard_ = plan.mask.shape().q_len / plan.pass(pass)->block.q / q_seq_shards_;
  const int64_t heads_of_shard = heads / head_shards_, rows_of_shard = rows / q_seq_shards_;
  shape_ = is_dkv_ ? std::array{columns, heads_of_shard, rows_of_shard}
                   : std::array{heads_of_shard, rows_of_shard, columns};
}

GridStep Grid::At(int64_t head_shard, int64_t q_shard,
                  const std::array<int64_t, 3>& program) const {
  GridStep step;
  step.head = head_shard * (is_dkv_ ? shape_[1] : shape_[0]) + (is_dkv_ ? program[1] : program[0]);
  const int64_t entry = step.head / heads_per_entry_;
  const int64_t row = is_dkv_ ? q_shard * shape_[2] + program[2] : q_shard * shape_[1] + program[1];
  const int64_t column = is_dkv_ ? program[0] : program[2];
  const int32_t next = info_.data_next->At(entry, row, column);
  step.q_block = is_dkv_ ? q_shard * q_blocks_per_shard_ + next : row;
  step.kv_block = is_dkv_ ? column : next;
  step.block_class = info_.block_mask->At(entry, row, column);
  if (info_.mask_next) step.stored = info_.mask_next->At(entry, row, column);
  return step;
}

}  // namespace splashmask
