// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of a mask, cell by cell and step by step as JAX defines them: the reference that the
// compiler and the certifier are held to. Deliberately slow; for masks of at most a few million
// cells.

#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// One pass. `is_dkv` chooses process_mask_dkv; `shrink` is already what this pass shall do.
CompiledPass NaivePass(const MultiHeadMask& mask, BlockShape block, bool is_dkv,
                       const PlanOptions& options, bool shrink);

/// What Compile(mask, options) has to return. The arguments must be valid; `threads` and `progress`
/// are ignored.
Plan NaivePlan(const MultiHeadMask& mask, const CompileOptions& options);

}  // namespace splashmask
