// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/column_visits.h"

#include <algorithm>
#include <functional>

namespace splashmask::fast {

ColumnVisits::ColumnVisits(const Plan& plan) : plan_(plan), pass_(*plan.dkv) {
  if (pass_.mask_function) {
    computed_.emplace(pass_);
    computed_cells_.emplace(computed_->analysis());
  }
  if (pass_.info.partial_mask_blocks) stored_cells_.emplace(*pass_.info.partial_mask_blocks);
  const auto [entries, rows, columns] = pass_.info.block_mask->shape();
  heads_per_entry_ = plan.mask.num_heads() / entries;
  rows_per_shard_ = rows / plan.options.q_seq_shards;
  q_blocks_per_shard_ = plan.mask.shape().q_len / pass_.block.q / plan.options.q_seq_shards;
  before_.resize(static_cast<size_t>(entries * rows * columns));
  visits_.resize(static_cast<size_t>(entries * columns));
  std::vector<int32_t> of_q_blocks;
  for (int64_t entry = 0; entry < entries; ++entry) {
    of_q_blocks.assign(static_cast<size_t>(plan.mask.shape().q_len / pass_.block.q), 0);
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t row = 0; row < rows; ++row) {
        if (pass_.info.block_mask->At(entry, row, column) == 0) continue;
        before_[static_cast<size_t>((entry * rows + row) * columns + column)] =
            of_q_blocks[static_cast<size_t>(QBlockOf(entry, row, column))]++;
        ++visits_[static_cast<size_t>(entry * columns + column)];
      }
    }
  }
}

int64_t ColumnVisits::CountVisits(int64_t head, int64_t heads, int64_t column) const {
  const int64_t columns = pass_.info.block_mask->shape()[2];
  int64_t visits = 0;
  for (const int64_t last = head + heads; head < last; ++head) {
    visits += visits_[static_cast<size_t>(EntryOf(head) * columns + column)];
  }
  return visits;
}

std::vector<ColumnTask> ColumnVisits::MakeTasks(int64_t batch, int64_t kv_heads, int64_t positions,
                                                Order order) const {
  const int64_t columns = pass_.info.block_mask->shape()[2], block_kv = pass_.block.kv;
  const int64_t heads = plan_.mask.num_heads() / kv_heads;
  const int64_t parts = (block_kv + positions - 1) / positions;
  std::vector<ColumnTask> tasks;
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t first = part * positions, count = std::min(positions, block_kv - first);
      for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
        const int64_t cost = count * CountVisits(kv_head * heads, heads, column);
        for (int64_t b = 0; b < batch; ++b) {
          tasks.push_back({b, kv_head, column * block_kv + first, count, part, parts, cost});
        }
      }
    }
  }
  if (order == Order::kCost) {
    std::ranges::stable_sort(tasks, std::ranges::greater(), &ColumnTask::cost);
  }
  return tasks;
}

void ColumnVisits::Find(const ColumnTask& task, int64_t heads_per_kv_head,
                        std::vector<ColumnVisit>* visits) const {
  const MaskInfo& info = pass_.info;
  const BlockShape block = pass_.block;
  const int64_t rows = info.block_mask->shape()[1], columns = info.block_mask->shape()[2];
  const int64_t column = task.first / block.kv;
  visits->clear();
  for (int64_t i = 0; i < heads_per_kv_head; ++i) {
    const int64_t head = task.kv_head * heads_per_kv_head + i, entry = EntryOf(head);
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t block_class = info.block_mask->At(entry, row, column);
      if (block_class == 0) continue;
      ColumnVisit visit;
      visit.head = head;
      visit.first_row = QBlockOf(entry, row, column) * block.q;
      visit.rows = block.q;
      visit.visit = {task.first, task.count};
      const int32_t before = before_[static_cast<size_t>((entry * rows + row) * columns + column)];
      visit.number = static_cast<int32_t>(before * task.parts + task.part);
      if (block_class == 1 && computed_) {
        if (computed_->IsBounded(visit.first_row / block.q)) {
          visit.visit.bounded = true;
          visit.lower = computed_->lower(visit.first_row);
          visit.upper = computed_->upper(visit.first_row);
        } else {
          visit.visit.cells = {&*computed_cells_, 0, visit.first_row, task.first};
        }
      } else if (block_class == 1) {
        visit.visit.cells = {&*stored_cells_, info.mask_next->At(entry, row, column), 0,
                             task.first - column * block.kv};
      }
      visits->push_back(visit);
    }
  }
}

}  // namespace splashmask::fast
