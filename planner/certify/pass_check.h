// SPDX-License-Identifier: Apache-2.0
#pragma once
// One pass of a plan held against the truth.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/certify/expected_tables.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/plan.h"

namespace splashmask::certify {

/// The mask function that the kernel computes by itself when every head has this one mask: causal,
/// local or chunked causal, bare or with reordered q positions.
std::optional<Mask> ComputedByKernel(const HeadEntries& heads, const PlanOptions& options);

/// A grid of blocks, and which partial block each of its blocks is. The first pass whose stored
/// blocks prove right becomes the reference for other passes of the same block shape.
struct ProvenGrid {
  BlockTruth truth;
  std::vector<int32_t> ids;  ///< By block index; empty until there is a reference.
  const PartialMaskBlocks* reference = nullptr;
  bool reference_is_dkv = false;
};

class PassCheck {
 public:
  /// The pass must be in the plan; `grid` has its block shape.
  PassCheck(const Plan& plan, Pass pass, const HeadEntries& heads, ProvenGrid& grid,
            RowProgress& progress);

  /// The first mismatch: mask_function, q_sequence, is_dynamic_mask, block_mask, data_next,
  /// partial_mask_blocks, mask_next, each from its first element on.
  std::optional<Mismatch> Run();

  /// Elements of tables and of q_sequence compared so far.
  int64_t entries() const { return entries_; }

 private:
  using Result = std::optional<Mismatch>;

  Result CheckMaskFunction() const;
  Result CheckQSequence();
  Result CheckTable(const char* name, const std::optional<Table>& got,
                    const std::vector<int32_t>& expected);
  Result CheckPartialMaskBlocks();
  Result ProveReference(const PartialMaskBlocks& stored);
  Result CompareWithReference(const PartialMaskBlocks& stored) const;

  Mismatch Wrong(const char* table, std::string expected, std::string got) const;
  /// The bit of stored block `id` that differs from the block of the mask at `at`.
  Mismatch WrongBit(const PartialMaskBlocks& stored, int64_t id, const BlockAt& at) const;
  /// Adds the position that shows a wrong element of a table, unless it is padding.
  void LocateElement(int64_t entry, const Place& place, int32_t got, Mismatch* mismatch) const;
  std::string DescribeBlocks(const std::string& count) const;

  const Plan& plan_;
  const Pass pass_;
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
