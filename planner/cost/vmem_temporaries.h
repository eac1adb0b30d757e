// SPDX-License-Identifier: Apache-2.0
#pragma once
// VMEM that the TPU compiler takes for what a kernel computes in between. Private to cost.

#include <string>

#include "splashmask/planner/cost/footprint.h"

namespace splashmask {

/// The logits of a step, float32[q, kv_compute], do not fit the 64 vector registers, 4 KiB each:
/// the compiler spills them, about once, and where it overlaps compute steps, more. Fitted per
/// kernel to sizes that libtpu 0.0.51 gave (tests/planner/data/vmem.csv): of a hundred kernels 33
/// take less than the least, 10 more than the most.
ByteBand VmemTemporaries(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                         const PassTables& tables);

/// Why the fit may not hold for a configuration; empty where it does.
std::string WhyExtrapolated(const AttentionConfig& config, const KernelBlocks& blocks);

}  // namespace splashmask
