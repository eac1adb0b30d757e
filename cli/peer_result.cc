// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/peer_result.h"

#include <fmt/format.h>

#include "splashmask/cli/numbers.h"

namespace splashmask::cli {

std::string TimeText(const Timing& timing) {
  if (timing.seconds.size() == 1) return fmt::format("{:>10}", Duration(timing.median()));
  return fmt::format("{:>10} ± {:.0f} %", Duration(timing.median()), 100 * timing.spread());
}

boost::json::object TimeJson(const Timing& timing) {
  if (timing.seconds.empty()) return {{"seconds", nullptr}, {"spread", nullptr}};
  return {{"seconds", timing.median()}, {"spread", timing.spread()}};
}

}  // namespace splashmask::cli
