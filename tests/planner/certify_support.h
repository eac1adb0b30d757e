// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of the certifier share.

#include <optional>

#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask {

struct NamedTable {
  const char* name;
  std::optional<Table> MaskInfo::*field;
};
inline constexpr NamedTable kTables[] = {{"block_mask", &MaskInfo::block_mask},
                                         {"data_next", &MaskInfo::data_next},
                                         {"mask_next", &MaskInfo::mask_next}};

/// fwd and dq (unless the backward is fused) with one block shape, dkv with another.
inline CompileOptions AllPasses(BlockShape fwd, BlockShape dkv, PlanOptions plan = {}) {
  CompileOptions options;
  options.fwd = fwd;
  options.dkv = dkv;
  if (!plan.use_fused_bwd_kernel) options.dq = fwd;
  options.plan = plan;
  return options;
}

/// The first mismatch. One thread: the plans are small and many.
inline std::optional<Mismatch> Verify(const Plan& plan) {
  return Certify(plan, {.threads = 1}).mismatch;
}

}  // namespace splashmask
