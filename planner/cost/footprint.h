// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether a kernel fits the memories of a TPU's core.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/kernel_windows.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask {

/// Whether something fits. Where a prediction's band holds the limit, nobody knows before
/// compiling.
enum class Fit : uint8_t { kFits, kTooClose, kDoesNotFit };

/// "fits", "too close to call" or "does not fit".
std::string_view FitName(Fit fit);

/// Bytes, as predicted: of ten kernels seven lie in [least, most], of twenty 19 at most 6 % beside.
struct ByteBand {
  int64_t expected = 0, least = 0, most = 0;
};

/// Whether the band lies below the limit, above it, or holds it.
Fit FitOf(const ByteBand& bytes, int64_t limit);

/// Of the scoped VMEM of one kernel.
struct VmemUse {
  std::vector<KernelWindow> windows;  ///< Exact.
  int64_t window_bytes = 0;
  /// What the compiler spills beyond the registers: predicted, see vmem_temporaries.h.
  ByteBand temporaries;
  /// Of both. Left out are the windows of operands that XLA keeps as a whole in the rest of VMEM:
  /// of `expected` and `most` those that it nearly always does, of `least` all that it may.
  ByteBand total;
  int64_t limit = 0;
  Fit fit = Fit::kFits;
  std::string extrapolated;  ///< Why the band may not hold; empty where it was measured.
};

/// A table that is prefetched into SMEM.
struct SmemTable {
  std::string_view name;
  int64_t bytes = 0;  ///< With padding.
};

/// Of the SMEM of one kernel.
struct SmemUse {
  std::vector<SmemTable> tables;
  int64_t bytes = 0;     ///< Of the tables.
  int64_t reserved = 0;  ///< What the compiler keeps for itself, at least.
  int64_t limit = 0;
  Fit fit = Fit::kFits;
};

struct KernelFootprint {
  TpuKernel kernel = TpuKernel::kFwd;
  KernelBlocks blocks;
  VmemUse vmem;
  SmemUse smem;

  /// The worse of both.
  Fit fit() const;
};

/// The footprint of one kernel. `limit` is the scoped VMEM that it may take, in bytes
/// (`xla_tpu_scoped_vmem_limit_kib`). The config has been checked.
KernelFootprint FootprintOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                            const PassTables& tables, int64_t limit);

}  // namespace splashmask
