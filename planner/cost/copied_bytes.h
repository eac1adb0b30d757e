// SPDX-License-Identifier: Apache-2.0
#pragma once
// HBM bytes that a call of splash attention moves. Private to planner/cost.

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/time_model.h"

namespace splashmask {

/// What the kernel copies for one sequence, as its operands lie in HBM: padded to whole tiles.
double CopiedBytes(TpuKernel kernel, const AttentionConfig& config, const StepCounts& counts,
                   SplashLibrary library);

/// Bytes that XLA reads and writes around the kernel, for all sequences, by kind of pass.
struct PassBytes {
  double copy = 0;       ///< Heads and positions change places.
  double transpose = 0;  ///< Positions and head dimension do.
  double stream = 0;     ///< Elementwise, and reductions.
};
PassBytes BytesAround(TpuKernel kernel, const AttentionConfig& config, const CallOptions& options);

}  // namespace splashmask
