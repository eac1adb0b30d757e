// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/time_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "splashmask/cli/numbers.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

std::string Line(const SlowestShard& kernel) {
  const KernelTime& time = kernel.time;
  return fmt::format("{:<13} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}{:>5.0f}{}\n",
                     TpuKernelName(kernel.kernel), Milliseconds(time.mxu),
                     Milliseconds(time.vector), Milliseconds(time.hbm), Milliseconds(time.overhead),
                     Milliseconds(time.transposes), Milliseconds(time.total()),
                     time.relative_uncertainty * 100, time.is_extrapolated() ? " *" : "");
}

}  // namespace

std::string Milliseconds(double seconds) {
  const double ms = seconds * 1e3;
  return fmt::format("{:.{}f}", ms, ms < 1e4 ? 3 : ms < 1e6 ? 1 : 0);
}

std::string_view BoundBy(const KernelTime& time) {
  const double most = std::max({time.mxu, time.vector, time.hbm});
  if (time.transposes > time.kernel) return "around";
  if (most == time.hbm) return "HBM";
  return most == time.mxu ? "products" : "vector";
}

std::string ExtrapolatedText(const std::vector<SlowestShard>& kernels) {
  std::string text;
  std::vector<std::string> reasons;
  for (const SlowestShard& kernel : kernels) {
    for (const std::string& reason : DescribeCaveats(kernel.time)) {
      if (std::find(reasons.begin(), reasons.end(), reason) != reasons.end()) continue;
      if (reasons.empty()) text += "* extrapolated:\n";
      text += "  " + reason + "\n";
      reasons.push_back(reason);
    }
  }
  return text;
}

std::string TimesText(const std::vector<SlowestShard>& kernels) {
  std::string text =
      "time of a call in ms; parts overlap\n"
      "kernel         products   vector      HBM    other   around    total  ± %\n";
  for (const SlowestShard& kernel : kernels) text += Line(kernel);
  for (const SlowestShard& kernel : kernels) {
    const double ratio = kernel.time.total() / kernel.mean_seconds;
    if (ratio > 1.005) {
      text += fmt::format("{}: the slowest shard takes {:.2f} times the mean\n",
                          TpuKernelName(kernel.kernel), ratio);
    }
  }
  return text + ExtrapolatedText(kernels);
}

json::object TimePartsJson(const KernelTime& time) {
  const std::vector<std::string> reasons = DescribeCaveats(time);
  return {{"products", time.mxu},
          {"vector", time.vector},
          {"hbm", time.hbm},
          {"overhead", time.overhead},
          {"flops", time.flops},
          {"copied_bytes", time.copied_bytes},
          {"kernel", time.kernel},
          {"around", time.transposes},
          {"total", time.total()},
          {"relative_uncertainty", time.relative_uncertainty},
          {"extrapolated", json::array(reasons.begin(), reasons.end())}};
}

json::object TimeJson(const SlowestShard& kernel) {
  json::object result = TimePartsJson(kernel.time);
  result["mean_of_shards"] = kernel.mean_seconds;
  return result;
}

}  // namespace splashmask::cli
