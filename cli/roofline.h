// SPDX-License-Identifier: Apache-2.0
#pragma once
// Kernels under a chip's roofline, drawn with characters.

#include <string>
#include <vector>

#include "splashmask/cli/time_report.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask::cli {

/// Useful FLOP/s over FLOP for each byte copied, both axes logarithmic: the roof that HBM and the
/// matrix units make, each kernel where it comes out, and above it where its vector units alone
/// would let it. Lines of at most 80 characters.
std::string DrawRoofline(const TpuSpec& spec, const std::vector<SlowestShard>& kernels,
                         bool is_float32);

}  // namespace splashmask::cli
