// SPDX-License-Identifier: Apache-2.0
#pragma once
// A plan for a mask that differs little from that of another plan.

#include <cstdint>

#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

struct PlanUpdate {
  Plan plan;
  /// Block rows of the distinct masks, for each block shape, and how many of them were compiled:
  /// the others are those of the plan before.
  int64_t block_rows = 0, compiled = 0;
};

/// The plan that Compile makes of `mask` with the passes, block shapes and options of `plan`, equal
/// in every field. Block rows that hold the same cells as in `plan` are taken from it: documents
/// appended, a longer sequence, ids or cells that changed in places. Which do is told from the
/// expressions, head by head: where both are built alike, from their leaves; otherwise every block
/// row is compiled. tokamax's passes are compiled anew. `plan` is believed: one that Certify would
/// not accept gives another. Partial blocks that are all the same, in
/// the same order, share the memory of `plan`.
///
/// Throws as Compile does, and kInvalidArgument for several masks beside tokamax's passes.
PlanUpdate UpdatePlan(const Plan& plan, const MultiHeadMask& mask, int threads = 0,
                      const Progress& progress = {});

}  // namespace splashmask
