// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether the program of a kernel fits the HBM of a TPU's device.

#include <cstdint>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/footprint.h"
#include "splashmask/planner/cost/literal_tables.h"
#include "splashmask/planner/cost/tpu_spec.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// Bytes in HBM of a program that calls one kernel and does nothing else, every array in HBM.
struct HbmUse {
  int64_t arguments = 0;    ///< Without tables.
  int64_t tables = 0;       ///< As literals, or as arguments where shards have their own.
  int64_t temporaries = 0;  ///< As XLA packs them.
  int64_t outputs = 0;
  int64_t limit = 0;
  Fit fit = Fit::kFits;

  int64_t total() const { return arguments + tables + temporaries + outputs; }
};

/// A pass's tables as such a program has them.
struct ProgramTables {
  LiteralTables tables;
  bool are_arguments = false;
};
/// Of one device.
ProgramTables ProgramTablesOf(const MaskInfo& info, const PlanOptions& options);

/// Of one device, with the tables of the kernel's pass. Throws as PredictBuffers does.
HbmUse HbmUseOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                const ProgramTables& tables);

}  // namespace splashmask
