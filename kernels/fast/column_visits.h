// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of dkv, column by column: which rows see something of a kv block. Private to kernels/.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/kernels/fast/block_cells.h"
#include "splashmask/kernels/fast/computed_mask.h"
#include "splashmask/kernels/fast/task.h"
#include "splashmask/planner/plan.h"

namespace splashmask::fast {

/// kv positions of one kv head of one sequence, inside one kv block.
struct ColumnTask {
  int64_t batch = 0, kv_head = 0, first = 0, count = 0;
  int64_t part = 0, parts = 1;  ///< Which part of how many of its kv block.
  int64_t cost = 0;             ///< Positions times blocks that see them.
};

/// A q block of a head that sees something of a task's positions.
struct ColumnVisit {
  int64_t head = 0, first_row = 0, rows = 0;
  Visit visit;
  const int32_t *lower = nullptr, *upper = nullptr;  ///< [rows], when the visit is bounded.
  int32_t number = 0;  ///< Of all tasks that visit the rows, in the order of positions.
};

class ColumnVisits {
 public:
  /// Borrows `plan`, which has a dkv pass.
  explicit ColumnVisits(const Plan& plan);

  /// The positions of all kv heads, at most `positions` a task: in their order, or the costly ones
  /// first.
  enum class Order { kPosition, kCost };
  std::vector<ColumnTask> MakeTasks(int64_t batch, int64_t kv_heads, int64_t positions,
                                    Order order) const;

  /// Replaces `visits`: head by head, q block by q block.
  void Find(const ColumnTask& task, int64_t heads_per_kv_head,
            std::vector<ColumnVisit>* visits) const;

  BlockShape block() const { return pass_.block; }

 private:
  int64_t EntryOf(int64_t head) const { return head / heads_per_entry_; }
  /// q blocks of heads [head, head + heads) that see something of a kv block.
  int64_t CountVisits(int64_t head, int64_t heads, int64_t column) const;
  int64_t QBlockOf(int64_t entry, int64_t row, int64_t column) const {
    return row / rows_per_shard_ * q_blocks_per_shard_ +
           pass_.info.data_next->At(entry, row, column);
  }

  const Plan& plan_;
  const CompiledPass& pass_;
  int64_t heads_per_entry_, rows_per_shard_, q_blocks_per_shard_;
  std::vector<int32_t> visits_;  // [entries, columns]: q blocks that see something of it.
  std::vector<int32_t> before_;  // [entries, rows, columns]: columns before that visit the q block.
  std::optional<ComputedMask> computed_;
  std::optional<ComputedCells> computed_cells_;
  std::optional<TransposedCells> stored_cells_;
};

}  // namespace splashmask::fast
