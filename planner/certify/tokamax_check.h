// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass of a plan in tokamax's dialect held against the truth.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/certify/kernel_mask.h"
#include "splashmask/planner/certify/stored_blocks.h"
#include "splashmask/planner/certify/tokamax_walk.h"
#include "splashmask/planner/tokamax_mask_info.h"

namespace splashmask::certify {

class TokamaxCheck {
 public:
  /// `grid` has the block shape of the pass, and one mask.
  TokamaxCheck(const TokamaxPass& pass, bool is_dkv, const HeadEntries& heads, ProvenGrid& grid,
               RowProgress& progress);

  /// The first mismatch, whose pass is left to the caller: mask_function, q_sequence, block_mask,
  /// active_rows, active_cols, num_active_blocks, partial_mask_blocks, mask_next, each from its
  /// first element on.
  std::optional<Mismatch> Run();

  /// Elements of lists and of q_sequence compared so far.
  int64_t entries() const { return entries_; }

 private:
  using Result = std::optional<Mismatch>;

  /// `expected` is a list with a value for each visit; nullopt: there is none.
  Result CheckList(const char* name, const std::optional<Array>& got,
                   const std::optional<std::vector<int32_t>>& expected);
  Result CheckValues(const char* name, const std::optional<Array>& got, DType dtype,
                     const std::vector<int32_t>& expected);
  /// Adds the position that shows a wrong entry of a list.
  void LocateVisit(int64_t i, int64_t got, Mismatch* mismatch) const;

  const TokamaxPass& pass_;
  const HeadEntries& heads_;
  ProvenGrid& grid_;
  RowProgress& progress_;
  const bool is_dkv_;
  const std::optional<Mask> leaf_;  // Set: no mask_next and no partial_mask_blocks.
  const TokamaxWalk walk_;
  int64_t entries_ = 0;
};

}  // namespace splashmask::certify
