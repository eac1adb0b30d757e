// SPDX-License-Identifier: Apache-2.0
#pragma once
// Block sizes that were found, as text, as JSON, and as other programs take them.

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "splashmask/planner/cost/tune.h"

namespace splashmask::cli {

/// The same call with the block sizes that the user has.
struct TimeBefore {
  double seconds = 0;
  Fit fit = Fit::kFits;
};

struct TuneAnswer {
  TuneResult result;
  std::optional<TimeBefore> before;
  int64_t scoped_vmem_limit = 0;
  std::optional<std::string> file;  ///< The plan that was written.
};

/// Several lines, at most 80 characters each but for a file's name.
std::string TuneText(const TuneAnswer& answer);

/// docs/cli.md lists the keys.
boost::json::object TuneJson(const TuneAnswer& answer);

/// A call of JAX's BlockSizes, as Python.
std::string KwargsText(const BlockSizes& sizes);

/// The lines of a MaxText configuration: its parameters sa_block_q and so on.
std::string MaxTextYaml(const BlockSizes& sizes);

}  // namespace splashmask::cli
