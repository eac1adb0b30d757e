// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass of a plan held against the truth.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/certify/expected_tables.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/certify/kernel_mask.h"
#include "splashmask/planner/certify/stored_blocks.h"
#include "splashmask/planner/plan.h"

namespace splashmask::certify {

/// The tables of one pass in JAX's dialect.
class PassCheck {
 public:
  /// The pass must be in the plan; `grid` has its block shape.
  PassCheck(const Plan& plan, Pass pass, const HeadEntries& heads, ProvenGrid& grid,
            RowProgress& progress);

  /// The first mismatch, whose pass is left to the caller: mask_function, q_sequence,
  /// is_dynamic_mask, block_mask, data_next, partial_mask_blocks, mask_next, each from its first
  /// element on.
  std::optional<Mismatch> Run();

  /// Elements of tables and of q_sequence compared so far.
  int64_t entries() const { return entries_; }

 private:
  using Result = std::optional<Mismatch>;

  Result CheckTable(const char* name, const std::optional<Table>& got,
                    const std::vector<int32_t>& expected);
  /// Adds the position that shows a wrong element of a table, unless it is padding.
  void LocateElement(int64_t entry, const Place& place, int32_t got, Mismatch* mismatch) const;

  const Plan& plan_;
  const CompiledPass& compiled_;
  const HeadEntries& heads_;
  ProvenGrid& grid_;
  RowProgress& progress_;
  const bool is_dkv_;
  const std::optional<Mask> leaf_;  // Set: no mask_next and no partial_mask_blocks.
  const TableLayout layout_;
  int64_t entries_ = 0;
};

}  // namespace splashmask::certify
