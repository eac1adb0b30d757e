// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a cost listing of a ggml graph holds, and what its model's attention would cost.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/exit_code.h"

namespace splashmask::cli {

struct GgmlArguments {
  std::optional<std::string> file;
  std::optional<int64_t> length;   ///< Of the sequence whose cost is asked.
  std::vector<std::string> masks;  ///< Layer i has mask i modulo their number.
};

/// Prints the totals and the geometry of the listing and, if a length is given, what the attention
/// of that model would cost there, beside its weights. Throws as ReadGgmlListing and GeometryOf do.
ExitCode InspectGgml(const GgmlArguments& arguments, bool as_json, const std::atomic<bool>& stop);

}  // namespace splashmask::cli
