// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of fwd or dq, row by row: what the rows of a q block visit. Private to kernels/.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/kernels/fast/block_cells.h"
#include "splashmask/kernels/fast/computed_mask.h"
#include "splashmask/kernels/fast/task.h"
#include "splashmask/planner/plan.h"

namespace splashmask::fast {

/// Rows of one head of one sequence that visit the same blocks: [first_row, first_row + rows).
struct RowTask {
  int64_t batch = 0, head = 0, first_row = 0, rows = 0;
  int64_t cost = 0;  ///< Rows times blocks that they visit.
};

/// What a thread keeps from task to task, so that none allocates.
struct RowWorkspace {
  std::vector<Visit> visits;
  std::vector<StoredCells> stored;
  std::optional<ComputedCells> computed;
};

class RowVisits {
 public:
  /// Borrows both; `pass` is the plan's fwd or dq.
  RowVisits(const Plan& plan, const CompiledPass& pass);

  /// The rows of all heads of `batch` sequences, at most `rows` a task, the costly ones first.
  std::vector<RowTask> MakeTasks(int64_t batch, int64_t rows) const;

  /// Fills workspace->visits, and returns what the rows see beside them.
  MaskOfTask Find(const RowTask& task, const AttentionInputs& inputs,
                  RowWorkspace* workspace) const;

  BlockShape block() const { return pass_.block; }

 private:
  int64_t EntryOf(int64_t head) const { return head / heads_per_entry_; }

  const Plan& plan_;
  const CompiledPass& pass_;
  int64_t heads_per_entry_;
  std::optional<ComputedMask> computed_;
  std::vector<int32_t> visits_;  // Blocks that are visited, of each row of the tables.
};

}  // namespace splashmask::fast
