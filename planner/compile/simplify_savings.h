// SPDX-License-Identifier: Apache-2.0
#pragma once
// What simplifying masks saves.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// What simplifying is there to make small.
struct MaskCost {
  /// Of one pass.
  struct PassCost {
    Pass pass = Pass::kFwd;
    bool is_computed = false;    ///< The kernel computes the mask itself.
    int64_t partial_blocks = 0;  ///< Distinct ones, which the kernel loads.
    int64_t partial_bytes = 0;   ///< Of these as a plan has them, packed.
    friend bool operator==(const PassCost&, const PassCost&) = default;
  };

  int64_t masks = 0;             ///< Distinct masks of heads.
  int64_t nodes = 0;             ///< Of their expressions.
  std::vector<PassCost> passes;  ///< Those of the plan, in the order fwd, dq, dkv.
  friend bool operator==(const MaskCost&, const MaskCost&) = default;
};

struct SimplifySavings {
  /// Of the masks as they were written; nullopt where their tables would not fit in memory.
  std::optional<MaskCost> before;
  MaskCost after;
};

/// Compares the fwd, dq and dkv passes of a plan with `simplify` to what they would be without:
/// compiles those, too, unless simplifying changed nothing. Throws kInvalidArgument for a plan
/// without `simplify`, kCancelled.
SimplifySavings FindSavings(const Plan& plan, int threads = 0, const Progress& progress = {});

}  // namespace splashmask
