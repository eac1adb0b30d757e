// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of a pass, whatever its dialect, as a list.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/tokamax_mask_info.h"

namespace splashmask::cli {

/// A field of a pass that is not None. Bits of partial_mask_blocks (dtype "bool") are packed along
/// the last axis.
struct PlanTable {
  const char* name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  ///< Of the pass, which must be there still.

  int64_t size_bytes() const { return static_cast<int64_t>(bytes.size()); }
};

/// In the order of the fields.
std::vector<PlanTable> PlanTables(const MaskInfo& info);
std::vector<PlanTable> PlanTables(const TokamaxMaskInfo& info);

int64_t TotalBytes(const std::vector<PlanTable>& tables);

/// "[1, 64, 64]".
std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace splashmask::cli
