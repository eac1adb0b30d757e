// SPDX-License-Identifier: Apache-2.0
#pragma once
// Options and comparisons of plans that the planner's tests share.

#include <gtest/gtest.h>

#include "splashmask/planner/compile/compile.h"

namespace splashmask {

/// fwd and dq (unless the backward is fused) with one block shape, dkv with another.
inline CompileOptions AllPasses(BlockShape fwd, BlockShape dkv, PlanOptions plan = {}) {
  CompileOptions options;
  options.fwd = fwd;
  options.dkv = dkv;
  if (!plan.use_fused_bwd_kernel) options.dq = fwd;
  options.plan = plan;
  return options;
}
inline CompileOptions AllPasses(BlockShape block) { return AllPasses(block, block); }

inline void ExpectSamePasses(const Plan& expected, const Plan& got) {
  for (const Pass pass : kAllPasses) {
    EXPECT_TRUE(expected.pass(pass) == got.pass(pass)) << PassName(pass);
  }
}

}  // namespace splashmask
