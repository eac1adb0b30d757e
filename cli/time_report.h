// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long kernels take on a chip, as text and as JSON.

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "splashmask/planner/cost/time_model.h"

namespace splashmask::cli {

/// The time of one kernel on the slowest shard.
struct SlowestShard {
  TpuKernel kernel = TpuKernel::kFwd;
  KernelTime time;
  double mean_seconds = 0;  ///< Over the shards.
};

/// Several lines, at most 80 characters each.
std::string TimesText(const std::vector<SlowestShard>& kernels);

/// Seconds by part, the uncertainty, and why it is extrapolated; docs/cli.md lists the keys.
boost::json::object TimeJson(const SlowestShard& kernel);

}  // namespace splashmask::cli
