// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long the kernels of a plan take on a chip, and whether they fit it.

#include <atomic>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/plan_question.h"

namespace splashmask::cli {

/// Prints what each kernel takes of time, VMEM and SMEM, and where something does not fit what
/// would. kAnswerIsNo where something does not fit. Throws as AskedQuestion does.
/// With a picture of the kernels under the chip's roofline, if that `has_roofline`.
ExitCode PlanFootprint(const PlanArguments& arguments, bool as_json, bool has_roofline,
                       const std::atomic<bool>& stop);

}  // namespace splashmask::cli
