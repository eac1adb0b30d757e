// SPDX-License-Identifier: Apache-2.0
#pragma once
// The forward pass in fast mode: the tables' rows become tasks for all threads. Private to
// kernels/.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask::fast {

class ForwardPass {
 public:
  /// Borrows `plan`, which has a fwd pass.
  explicit ForwardPass(const Plan& plan);

  /// The arguments fit the plan and each other.
  void Run(const AttentionInputs& inputs, float soft_cap, const Tensor& out,
           std::span<float> logsumexp, int threads, const Progress& progress) const;

 private:
  /// Rows of one head of one sequence that visit the same blocks: [first_row, first_row + rows).
  struct Task {
    int64_t batch, head, first_row, rows;
    int64_t visits;  ///< How many blocks, which is what the task costs.
  };
  /// What a thread keeps from task to task.
  struct Workspace;

  std::vector<Task> MakeTasks(int64_t batch, int64_t rows_per_task) const;
  int64_t EntryOf(int64_t head) const { return head / heads_per_entry_; }
  void RunTask(const Task& task, const AttentionInputs& inputs, float soft_cap, const Tensor& out,
               std::span<float> logsumexp, Workspace& workspace) const;
  /// Fills the bounds of the task's rows, as far as each row is one run; says whether all are.
  bool ReadBounds(const Task& task, Workspace& workspace) const;

  const Plan& plan_;
  const CompiledPass& pass_;
  int64_t heads_per_entry_;
  std::unique_ptr<const Analysis> computed_;  // The mask function over the rows' positions.
  std::vector<int32_t> visits_;               // Blocks that are visited, of each row of the tables.
};

}  // namespace splashmask::fast
