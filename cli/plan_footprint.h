// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long the kernels of a plan take on a chip, and whether they fit it.

#include <atomic>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/plan_question.h"

namespace splashmask::cli {

/// Prints what each kernel takes of time, VMEM and SMEM, and where something does not fit what
/// would. kAnswerIsNo where something does not fit. Throws as AskedQuestion does.
ExitCode PlanFootprint(const PlanArguments& arguments, bool as_json, const std::atomic<bool>& stop);

}  // namespace splashmask::cli
