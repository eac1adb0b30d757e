// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/row_visits.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace splashmask::fast {

RowVisits::RowVisits(const Plan& plan, const CompiledPass& pass) : plan_(plan), pass_(pass) {
  if (pass.mask_function) {
    computed_.emplace(pass);
    computed_cells_.emplace(computed_->analysis());
  }
  if (pass.info.partial_mask_blocks) stored_cells_.emplace(*pass.info.partial_mask_blocks);
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

int64_t RowVisits::CountVisits(int64_t head, int64_t q_block) const {
  const int64_t q_blocks = pass_.info.block_mask->shape()[1];
  return visits_[static_cast<size_t>(EntryOf(head) * q_blocks + q_block)];
}

// The rows of one kv head's q heads, about `rows` at a time: a part of a q block, or the same q
// blocks of several heads, or several q blocks of all heads.
class RowVisits::TaskMaker {
 public:
  TaskMaker(const RowVisits& visits, int64_t heads, int64_t rows) : visits_(visits) {
    const int64_t block_q = visits.block().q;
    parts_ = (block_q + rows - 1) / rows;
    rows_ = std::min(rows, block_q);
    heads_ = std::clamp<int64_t>(rows / block_q, 1, heads);
    // The rows that a panel lacks count, too: it has memory for them.
    constexpr int64_t kPanel = 32;
    q_blocks_ = std::max<int64_t>(1, rows / ((block_q * heads_ + kPanel - 1) / kPanel * kPanel));
  }

  void Append(int64_t batch, int64_t kv_head, int64_t heads, std::vector<RowTask>* tasks) const {
    const int64_t q_blocks = visits_.pass_.info.block_mask->shape()[1];
    const int64_t last_head = (kv_head + 1) * heads;
    for (int64_t head = kv_head * heads; head < last_head; head += heads_) {
      for (int64_t q_block = 0; q_block < q_blocks; q_block += q_blocks_) {
        for (int64_t part = 0; part < parts_; ++part) {
          RowTask task{batch, kv_head, {}, 0};
          for (int64_t q = q_block; q < std::min(q_blocks, q_block + q_blocks_); ++q) {
            AddGroups(head, std::min(last_head, head + heads_), q, part, &task);
          }
          tasks->push_back(std::move(task));
        }
      }
    }
  }

 private:
  void AddGroups(int64_t head, int64_t last_head, int64_t q_block, int64_t part,
                 RowTask* task) const {
    const int64_t block_q = visits_.block().q, row = part * rows_;
    const int64_t rows = std::min(rows_, block_q - row);
    while (head < last_head) {
      const int64_t first = head++;
      while (head < last_head && visits_.EntryOf(head) == visits_.EntryOf(first)) ++head;
      task->groups.push_back({first, head - first, q_block * block_q + row, rows});
      task->cost += visits_.CountVisits(first, q_block) * rows * (head - first);
    }
  }

  const RowVisits& visits_;
  int64_t parts_, rows_;      // Of a q block, and in each.
  int64_t heads_, q_blocks_;  // In a task.
};

std::vector<RowTask> RowVisits::MakeTasks(int64_t batch, int64_t kv_heads, int64_t rows) const {
  const int64_t heads = plan_.mask.num_heads() / kv_heads;
  const TaskMaker maker(*this, heads, rows);
  std::vector<RowTask> tasks;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t kv_head = 0; kv_head < kv_heads; ++kv_head)
      maker.Append(b, kv_head, heads, &tasks);
  }
  std::ranges::stable_sort(tasks, std::ranges::greater(), &RowTask::cost);
  return tasks;
}

void RowVisits::Find(const RowTask& task, RowWorkspace* workspace) const {
  workspace->visits.clear();
  workspace->begins.assign(1, 0);
  for (const RowGroup& group : task.groups) {
    AppendVisits(group, &workspace->visits);
    workspace->begins.push_back(workspace->visits.size());
  }
}

void RowVisits::AppendVisits(const RowGroup& group, std::vector<Visit>* visits) const {
  const MaskInfo& info = pass_.info;
  const BlockShape block = pass_.block;
  const int64_t entry = EntryOf(group.head), q_block = group.first_row / block.q;
  const int64_t columns = info.block_mask->shape()[2];
  const bool bounded = computed_ && computed_->IsBounded(q_block);
  const size_t begin = visits->size();
  for (int64_t j = 0; j < columns; ++j) {
    const int32_t block_class = info.block_mask->At(entry, q_block, j);
    if (block_class == 0) continue;
    Visit visit{info.data_next->At(entry, q_block, j) * block.kv, block.kv};
    if (block_class == 1 && bounded) {
      visit.bounded = true;
    } else if (block_class == 1 && computed_) {
      visit.cells = {&*computed_cells_, 0, group.first_row, visit.kv_begin};
    } else if (block_class == 1) {
      visit.cells = {&*stored_cells_, info.mask_next->At(entry, q_block, j),
                     group.first_row - q_block * block.q, 0};
    }
    visits->push_back(visit);
  }
  // As compiled tables have it; others may not.
  std::ranges::stable_sort(visits->begin() + static_cast<ptrdiff_t>(begin), visits->end(), {},
                           &Visit::kv_begin);
}

MaskOfTask RowVisits::MaskOf(const RowGroup& group, int64_t batch,
                             const AttentionInputs& inputs) const {
  MaskOfTask mask;
  if (computed_ && computed_->IsBounded(group.first_row / pass_.block.q)) {
    mask.lower = computed_->lower(group.first_row);
    mask.upper = computed_->upper(group.first_row);
  }
  mask.SetSegmentIds(inputs, batch, group.first_row);
  return mask;
}

}  // namespace splashmask::fast
