// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long kernels take on a chip, as text and as JSON.

#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/planner/cost/time_model.h"

namespace splashmask::cli {

/// The time of one kernel on the slowest shard.
struct SlowestShard {
  TpuKernel kernel = TpuKernel::kFwd;
  KernelTime time;
  double mean_seconds = 0;  ///< Over the shards.
};

/// With three decimals, at most 8 characters until a call takes hours.
std::string Milliseconds(double seconds);

/// What most of a kernel's time goes to: "products", "vector", "HBM", or "around".
std::string_view BoundBy(const KernelTime& time);

/// Why times are extrapolated, a line for each reason; empty where none is.
std::string ExtrapolatedText(const std::vector<SlowestShard>& kernels);

/// Several lines, at most 80 characters each.
std::string TimesText(const std::vector<SlowestShard>& kernels);

/// Seconds by part, the uncertainty, and why it is extrapolated; docs/cli.md lists the keys.
boost::json::object TimePartsJson(const KernelTime& time);

/// The same with the mean over shards.
boost::json::object TimeJson(const SlowestShard& kernel);

}  // namespace splashmask::cli
