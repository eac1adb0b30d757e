// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fastest block sizes for a mask.

#include <atomic>
#include <optional>
#include <string>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/plan_question.h"

namespace splashmask::cli {

/// How the answer is written.
enum class TuneOutput : uint8_t { kText, kJson, kKwargs, kMaxText };

/// Prints the block sizes that Tune finds, and writes the plan with them to `output`, if there is
/// one. Throws as AskedCall, Tune, Compile and WritePlan do.
ExitCode PlanTune(const PlanArguments& arguments, TuneOutput format,
                  const std::optional<std::string>& output, const std::atomic<bool>& stop);

}  // namespace splashmask::cli
