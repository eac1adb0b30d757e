// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/row_visits.h"

#include <algorithm>
#include <functional>

namespace splashmask::fast {

RowVisits::RowVisits(const Plan& plan, const CompiledPass& pass) : plan_(plan), pass_(pass) {
  if (pass.mask_function) computed_.emplace(pass);
  const Table& block_mask = *pass_.info.block_mask;
  const auto [entries, rows, columns] = block_mask.shape();
  heads_per_entry_ = plan.mask.num_heads() / entries;
  visits_.reserve(static_cast<size_t>(entries * rows));
  for (int64_t row = 0; row < entries * rows; ++row) {
    int32_t visits = 0;
    for (int64_t j = 0; j < columns; ++j) visits += block_mask.At(row * columns + j) != 0;
    visits_.push_back(visits);
  }
}

std::vector<RowTask> RowVisits::MakeTasks(int64_t batch, int64_t rows_per_task) const {
  const int64_t q_blocks = pass_.info.block_mask->shape()[1], block_q = pass_.block.q;
  std::vector<RowTask> tasks;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t head = 0; head < plan_.mask.num_heads(); ++head) {
      for (int64_t q_block = 0; q_block < q_blocks; ++q_block) {
        const int64_t visits = visits_[static_cast<size_t>(EntryOf(head) * q_blocks + q_block)];
        for (int64_t row = 0; row < block_q; row += rows_per_task) {
          const int64_t rows = std::min(rows_per_task, block_q - row);
          tasks.push_back({b, head, q_block * block_q + row, rows, visits * rows});
        }
      }
    }
  }
  std::ranges::stable_sort(tasks, std::ranges::greater(), &RowTask::cost);
  return tasks;
}

MaskOfTask RowVisits::Find(const RowTask& task, const AttentionInputs& inputs,
                           RowWorkspace* workspace) const {
  const MaskInfo& info = pass_.info;
  const BlockShape block = pass_.block;
  const int64_t entry = EntryOf(task.head), q_block = task.first_row / block.q;
  const int64_t columns = info.block_mask->shape()[2];
  const bool bounded = computed_ && computed_->IsBounded(q_block);
  if (computed_) workspace->computed.emplace(computed_->analysis(), task.first_row);
  workspace->visits.clear();
  workspace->stored.clear();
  workspace->stored.reserve(static_cast<size_t>(columns));  // Visits point there.
  for (int64_t j = 0; j < columns; ++j) {
    const int32_t block_class = info.block_mask->At(entry, q_block, j);
    if (block_class == 0) continue;
    Visit visit{info.data_next->At(entry, q_block, j) * block.kv, block.kv, false, nullptr};
    if (block_class == 1 && bounded) {
      visit.bounded = true;
    } else if (block_class == 1 && computed_) {
      visit.cells = &*workspace->computed;
    } else if (block_class == 1) {
      visit.cells = &workspace->stored.emplace_back(
          *info.partial_mask_blocks, info.mask_next->At(entry, q_block, j),
          task.first_row - q_block * block.q, visit.kv_begin);
    }
    workspace->visits.push_back(visit);
  }
  MaskOfTask mask;
  if (bounded) {
    mask.lower = computed_->lower(task.first_row);
    mask.upper = computed_->upper(task.first_row);
  }
  if (inputs.segment_ids) {
    mask.q_segment_ids = inputs.segment_ids->q.data() + task.first_row;
    mask.kv_segment_ids = inputs.segment_ids->kv.data();
  }
  return mask;
}

}  // namespace splashmask::fast
