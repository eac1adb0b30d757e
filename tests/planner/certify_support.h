// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the tests of the certifier share.

#include <optional>

#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/planner/plans.h"

namespace splashmask {

struct NamedTable {
  const char* name;
  std::optional<Table> MaskInfo::*field;
};
inline constexpr NamedTable kTables[] = {{"block_mask", &MaskInfo::block_mask},
                                         {"data_next", &MaskInfo::data_next},
                                         {"mask_next", &MaskInfo::mask_next}};

/// The first mismatch. One thread: the plans are small and many.
inline std::optional<Mismatch> Verify(const Plan& plan) {
  return Certify(plan, {.threads = 1}).mismatch;
}

}  // namespace splashmask
