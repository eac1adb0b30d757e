// SPDX-License-Identifier: Apache-2.0
#pragma once
// Step 4 for a whole pass: grids -> what a plan holds of it. Private to compile.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/computable.h"
#include "splashmask/planner/compile/head_masks.h"
#include "splashmask/planner/compile/tables.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// What all passes of a plan share. Borrows its heads and options.
class PassMaker {
 public:
  /// `heads` are grouped for options.head_shards.
  PassMaker(const HeadMasks& heads, const PlanOptions& options);

  /// Whether the kernel computes the mask: then nobody needs the bits of partial blocks.
  bool is_computable() const { return computable_.has_value(); }
  bool MayShrink(Pass pass) const;

  /// What the tables of a pass are made from; `grids` are borrowed, one for each distinct mask.
  TableInputs InputsOf(Pass pass, const std::vector<BlockGrid>& grids, int64_t num_partial) const;

  /// `blocks` are the distinct partial ones, transposed for dkv. Runs on the caller's TBB arena.
  CompiledPass Make(BlockShape block, Pass pass, const std::vector<BlockGrid>& grids,
                    int64_t num_partial, std::optional<PartialMaskBlocks> blocks);

 private:
  const HeadMasks& heads_;
  const PlanOptions& options_;
  std::optional<Computable> computable_;
};

}  // namespace splashmask
