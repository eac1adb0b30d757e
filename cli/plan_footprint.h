// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether the kernels of a plan fit a chip.

#include <atomic>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/plan_question.h"

namespace splashmask::cli {

/// Prints what each kernel takes of VMEM and SMEM, and where something does not fit what would.
/// kAnswerIsNo where something does not fit. Throws as AskedQuestion does.
ExitCode PlanFootprint(const PlanArguments& arguments, bool as_json, const std::atomic<bool>& stop);

}  // namespace splashmask::cli
