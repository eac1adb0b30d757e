// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether kernels fit a chip's memories, as text and as JSON.

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/cost/footprint.h"
#include "splashmask/planner/cost/hbm_use.h"

namespace splashmask::cli {

/// A kernel that does not fit, and the way out.
struct Misfit {
  TpuKernel kernel = TpuKernel::kFwd;
  std::string memory;  ///< "VMEM", "SMEM" or "HBM".
  int64_t bytes_over = 0;
  std::optional<KernelBlocks> nearest;  ///< Blocks that fit; not looked for where HBM breaks.
  std::optional<int64_t> least_limit_kib = {};  ///< A limit that would do, where the chip has it.
};

struct FootprintAnswer {
  std::vector<KernelFootprint> kernels;
  std::vector<HbmUse> hbm;       ///< Of the programs of the same kernels.
  std::optional<Misfit> misfit;  ///< The first.

  Fit fit() const;
};

/// "1024x512/256": q, kv, kv_compute.
std::string KernelBlocksText(const KernelBlocks& blocks);
/// {q, kv, kv_compute}.
boost::json::object KernelBlocksJson(const KernelBlocks& blocks);
/// true, false, or null where it is too close to call.
boost::json::value FitJson(Fit fit);

/// Several lines, at most 80 characters each.
std::string FootprintText(const FootprintAnswer& answer, const TpuSpec& spec);

/// {fits, kernels, misfit}; docs/cli.md lists the keys.
boost::json::object FootprintJson(const FootprintAnswer& answer);

}  // namespace splashmask::cli
