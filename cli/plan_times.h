// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long the kernels of a plan take.

#include <vector>

#include "splashmask/cli/plan_question.h"
#include "splashmask/cli/time_report.h"

namespace splashmask::cli {

/// Of each kernel that calls with these block sizes may run, in the order of KernelsOf.
std::vector<SlowestShard> TimesOf(const PlanQuestion& question);

}  // namespace splashmask::cli
