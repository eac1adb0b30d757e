// SPDX-License-Identifier: Apache-2.0
#pragma once
// The buffers that a program of attention should have, beside those that XLA gave it.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/mask_argument.h"

namespace splashmask::cli {

struct CompareXlaArguments {
  std::string plan;     ///< A plan file, or a mask's text.
  MaskLengths lengths;  ///< Of a text; what is not given is taken from the dump.
  std::string file;     ///< XLA's buffer assignment.
  std::string chip = "v6e";
  std::optional<int64_t> scoped_vmem_limit_kib;  ///< nullopt: the chip's own.
};

/// Prints the buffers predicted from the plan and the kernel's configuration, which the dump's
/// custom call tells, side by side with the compiler's. kAnswerIsNo where any differs. Throws as
/// ReadXlaBuffers and FindSplashCall do, and kInvalidArgument for a plan of another shape or other
/// blocks.
ExitCode PlanCompareXla(const CompareXlaArguments& arguments, bool as_json,
                        const std::atomic<bool>& stop);

}  // namespace splashmask::cli
