// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/footprint.h"

#include <algorithm>

#include "splashmask/planner/cost/kept_in_vmem.h"
#include "splashmask/planner/cost/tiles.h"
#include "splashmask/planner/cost/vmem_temporaries.h"

namespace splashmask {

namespace {

VmemUse VmemOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
               const PassTables& tables, int64_t limit) {
  VmemUse use;
  use.windows = KernelWindows(kernel, config, tables);
  use.limit = limit;
  use.temporaries = VmemTemporaries(spec, kernel, config, tables);
  use.extrapolated = WhyExtrapolated(config, BlocksOf(config.block_sizes, kernel));
  for (const KernelWindow& window : use.windows) use.window_bytes += window.bytes();
  const KeptWindows kept = KeptInVmem(spec, kernel, config, use.windows, limit);
  use.total = {use.window_bytes - kept.least + use.temporaries.expected,
               use.window_bytes - kept.most + use.temporaries.least,
               use.window_bytes - kept.least + use.temporaries.most};
  use.fit = FitOf(use.total, limit);
  return use;
}

SmemTable TableInSmem(std::string_view name, const TableOperand& table) {
  const int64_t bytes = DTypeSize(table.dtype);
  return {name, table.shape[0] * RoundedUp(table.shape[1], kWordBytes / bytes) *
                    RoundedUp(table.shape[2], kLanes) * bytes};
}

SmemUse SmemOf(const TpuSpec& spec, const PassTables& tables) {
  SmemUse use;
  use.limit = spec.smem_bytes;
  const auto add = [&](std::string_view name, const std::optional<TableOperand>& table) {
    if (!table) return;
    use.tables.push_back(TableInSmem(name, *table));
    use.bytes += use.tables.back().bytes;
  };
  add("data_next", tables.data_next);
  add("block_mask", tables.block_mask);
  add("mask_next", tables.mask_next);
  // What the compiler keeps for itself: 1.1 to 4.0 KB were seen with libtpu 0.0.51.
  constexpr int64_t kMostReserved = 4096;
  use.reserved = 1100;
  use.fit = FitOf({use.bytes, use.bytes + use.reserved, use.bytes + kMostReserved}, use.limit);
  return use;
}

}  // namespace

Fit FitOf(const ByteBand& bytes, int64_t limit) {
  if (bytes.most <= limit) return Fit::kFits;
  return bytes.least > limit ? Fit::kDoesNotFit : Fit::kTooClose;
}

std::string_view FitName(Fit fit) {
  switch (fit) {
    case Fit::kFits:
      return "fits";
    case Fit::kTooClose:
      return "too close to call";
    case Fit::kDoesNotFit:
      return "does not fit";
  }
  return "";
}

Fit KernelFootprint::fit() const { return std::max(vmem.fit, smem.fit); }

KernelFootprint FootprintOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                            const PassTables& tables, int64_t limit) {
  return {kernel, BlocksOf(config.block_sizes, kernel), VmemOf(spec, kernel, config, tables, limit),
          SmemOf(spec, tables)};
}

}  // namespace splashmask
