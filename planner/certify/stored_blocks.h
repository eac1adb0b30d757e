// SPDX-License-Identifier: Apache-2.0
#pragma once
// The partial blocks that a pass stores, held against the truth.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::certify {

/// A grid of blocks, and which partial block each of its blocks is. The first pass whose stored
/// blocks prove right becomes the reference for other passes of the same block shape.
struct ProvenGrid {
  BlockTruth truth;
  std::vector<int32_t> ids;  ///< By block index; empty until there is a reference.
  const PartialMaskBlocks* reference = nullptr;
  bool reference_is_dkv = false;
};

class StoredBlocksCheck {
 public:
  StoredBlocksCheck(const HeadEntries& heads, ProvenGrid& grid, bool is_dkv, RowProgress& progress)
      : heads_(heads), grid_(grid), progress_(progress), is_dkv_(is_dkv) {}

  /// The first mismatch; its pass is left to the caller. `computed`: by the kernel, which needs no
  /// blocks.
  std::optional<Mismatch> Run(const std::optional<PartialMaskBlocks>& stored, bool computed);

 private:
  using Result = std::optional<Mismatch>;

  Result ProveReference(const PartialMaskBlocks& stored);
  Result CompareWithReference(const PartialMaskBlocks& stored) const;
  /// The bit of stored block `id` that differs from the block of the mask at `at`.
  Mismatch WrongBit(const PartialMaskBlocks& stored, int64_t id, const BlockAt& at) const;
  std::string DescribeBlocks(const std::string& count) const;

  const HeadEntries& heads_;
  ProvenGrid& grid_;
  RowProgress& progress_;
  const bool is_dkv_;
};

}  // namespace splashmask::certify
