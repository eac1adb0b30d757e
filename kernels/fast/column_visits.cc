// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/column_visits.h"

#include <algorithm>
#include <cstring>
#include <functional>

namespace splashmask::fast {

void TransposedCells::Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
                           uint64_t* lanes) const {
  // Panels begin at multiples of their width, which is at least 8 and divides 64.
  const uint64_t every = rows == 64 ? ~uint64_t{0} : (uint64_t{1} << rows) - 1;
  const int64_t bytes = std::min<int64_t>(8, blocks_->row_bytes() - first_row / 8);
  for (int64_t c = 0; c < count; ++c) {
    const std::byte* bits =
        blocks_->block(id_) + (kv_begin - kv_begin_ + c) * blocks_->row_bytes() + first_row / 8;
    uint64_t word = 0;
    std::memcpy(&word, bits, static_cast<size_t>(bytes));
    lanes[c] = word & every;
  }
}

ColumnVisits::ColumnVisits(const Plan& plan)
    : plan_(plan), pass_(*plan.dkv), computed_(ComputedMask(pass_)) {
  const auto [entries, rows, columns] = pass_.info.block_mask->shape();
  heads_per_entry_ = plan.mask.num_heads() / entries;
  rows_per_shard_ = rows / plan.options.q_seq_shards;
  q_blocks_per_shard_ = plan.mask.shape().q_len / pass_.block.q / plan.options.q_seq_shards;
}

std::vector<ColumnTask> ColumnVisits::MakeTasks(int64_t batch, int64_t kv_heads,
                                                int64_t positions) const {
  const Table& block_mask = *pass_.info.block_mask;
  const auto [entries, rows, columns] = block_mask.shape();
  const int64_t heads = plan_.mask.num_heads() / kv_heads, block_kv = pass_.block.kv;
  std::vector<ColumnTask> tasks;
  for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
    for (int64_t column = 0; column < columns; ++column) {
      int64_t visits = 0;
      for (int64_t head = kv_head * heads; head < (kv_head + 1) * heads; ++head) {
        for (int64_t row = 0; row < rows; ++row) {
          visits += block_mask.At(EntryOf(head), row, column) != 0;
        }
      }
      for (int64_t first = 0; first < block_kv; first += positions) {
        const int64_t count = std::min(positions, block_kv - first);
        for (int64_t b = 0; b < batch; ++b) {
          tasks.push_back({b, kv_head, column * block_kv + first, count, visits * count});
        }
      }
    }
  }
  std::ranges::stable_sort(tasks, std::ranges::greater(), &ColumnTask::cost);
  return tasks;
}

void ColumnVisits::Find(const ColumnTask& task, int64_t heads_per_kv_head,
                        ColumnWorkspace* workspace) const {
  const MaskInfo& info = pass_.info;
  const BlockShape block = pass_.block;
  const int64_t rows = info.block_mask->shape()[1], column = task.first / block.kv;
  workspace->visits.clear();
  workspace->stored.clear();
  workspace->computed.clear();
  workspace->bounds.clear();
  for (int64_t i = 0; i < heads_per_kv_head; ++i) {
    const int64_t head = task.kv_head * heads_per_kv_head + i, entry = EntryOf(head);
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t block_class = info.block_mask->At(entry, row, column);
      if (block_class == 0) continue;
      const int64_t q_block =
          row / rows_per_shard_ * q_blocks_per_shard_ + info.data_next->At(entry, row, column);
      ColumnVisit visit{head,    q_block * block.q,
                        block.q, {task.first, task.count, false, nullptr},
                        nullptr, nullptr};
      if (block_class == 1 && computed_) {
        RowWorkspace& bounds = workspace->bounds.emplace_back();
        if (ReadBounds(*computed_, visit.first_row, visit.rows, &bounds)) {
          visit.visit.bounded = true;
          visit.lower = bounds.lower.data();
          visit.upper = bounds.upper.data();
        } else {
          visit.visit.cells = &workspace->computed.emplace_back(*computed_, visit.first_row);
        }
      } else if (block_class == 1) {
        visit.visit.cells = &workspace->stored.emplace_back(
            *info.partial_mask_blocks, info.mask_next->At(entry, row, column), column * block.kv);
      }
      workspace->visits.push_back(visit);
    }
  }
}

}  // namespace splashmask::fast
