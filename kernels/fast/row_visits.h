// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of fwd or dq, row by row: what the rows of a q block visit. Private to kernels/.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/kernels/fast/block_cells.h"
#include "splashmask/kernels/fast/computed_mask.h"
#include "splashmask/kernels/fast/task.h"
#include "splashmask/planner/plan.h"

namespace splashmask::fast {

/// Rows [first_row, first_row + rows) of one q block, in heads [head, head + heads), which all see
/// the same.
struct RowGroup {
  int64_t head = 0, heads = 1, first_row = 0, rows = 0;
};

/// Rows of one sequence whose heads share a kv head: in the forward pass what one of them loads
/// serves the others.
struct RowTask {
  int64_t batch = 0, kv_head = 0;
  std::vector<RowGroup> groups;
  int64_t cost = 0;  ///< Rows times blocks that they visit.
};

/// What the groups of a task visit; a thread keeps it from task to task, so that none allocates.
struct RowWorkspace {
  std::vector<Visit> visits;
  std::vector<size_t> begins;  // Of each group's visits, and the end of all.

  std::span<const Visit> Of(size_t group) const {
    return std::span(visits).subspan(begins[group], begins[group + 1] - begins[group]);
  }
};

class RowVisits {
 public:
  /// Borrows both; `pass` is the plan's fwd or dq.
  RowVisits(const Plan& plan, const CompiledPass& pass);

  /// The rows of all heads of `batch` sequences, about `rows` a task, the costly ones first.
  std::vector<RowTask> MakeTasks(int64_t batch, int64_t kv_heads, int64_t rows) const;

  /// Finds what each group of a task visits, in the order of positions.
  void Find(const RowTask& task, RowWorkspace* workspace) const;

  /// What the rows of a group see, beside its visits.
  MaskOfTask MaskOf(const RowGroup& group, int64_t batch, const AttentionInputs& inputs) const;

  BlockShape block() const { return pass_.block; }

 private:
  class TaskMaker;
  int64_t EntryOf(int64_t head) const { return head / heads_per_entry_; }
  int64_t CountVisits(int64_t head, int64_t q_block) const;
  void AppendVisits(const RowGroup& group, std::vector<Visit>* visits) const;

  const Plan& plan_;
  const CompiledPass& pass_;
  int64_t heads_per_entry_;
  std::optional<ComputedMask> computed_;
  std::optional<ComputedCells> computed_cells_;
  std::optional<StoredCells> stored_cells_;
  std::vector<int32_t> visits_;  // Blocks that are visited, of each row of the tables.
};

}  // namespace splashmask::fast
