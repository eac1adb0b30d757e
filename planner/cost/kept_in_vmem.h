// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which operands XLA keeps in VMEM as a whole. Private to cost.

#include <vector>

#include "splashmask/planner/cost/footprint.h"

namespace splashmask {

/// Bytes of windows that are not needed, since their operands lie in VMEM anyway.
struct KeptWindows {
  int64_t least = 0, most = 0;
};

/// With a limit below the chip's VMEM, XLA may keep operands and results in the rest of it. It goes
/// by a model of time, which also sees what runs before; what is nearly always so, and what never
/// is, was seen with libtpu 0.0.51 (docs/footprint.md counts it).
KeptWindows KeptInVmem(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                       const std::vector<KernelWindow>& windows, int64_t limit);

}  // namespace splashmask
