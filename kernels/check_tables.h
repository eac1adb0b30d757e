// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a pass's tables can be walked at all, whatever they say. Private to kernels/.

#include "splashmask/planner/plan.h"

namespace splashmask {

/// Throws kDamaged when a table is absent, of a shape that the plan cannot have, or names a block
/// that is not there, and kTooLarge for positions beyond int32. The plan has the pass.
void CheckTables(const Plan& plan, Pass pass);

}  // namespace splashmask
