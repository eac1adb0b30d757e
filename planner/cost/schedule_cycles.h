// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cycles of a kernel's steps, as the compiler schedules them. Private to planner/cost.

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/time_constants.h"
#include "splashmask/planner/cost/time_model.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask {

/// Of all steps of one sequence, on one core.
struct ScheduleCycles {
  double mxu = 0;      ///< Products of the bodies, when matrix units never wait.
  double bodies = 0;   ///< Bodies.
  double visited = 0;  ///< Steps that run a body, and outputs, beyond the bodies.
  double skipped = 0;  ///< Steps that run none.
  double flops = 0;    ///< No cycles: of the products, head dimensions as they are.
};

ScheduleCycles CyclesOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                        const StepCounts& counts, const CallOptions& options,
                        const ScheduleConstants& constants);

}  // namespace splashmask
