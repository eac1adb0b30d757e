// SPDX-License-Identifier: Apache-2.0
#pragma once
// Positions that attend to nothing, as text and as JSON.

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"

namespace splashmask::cli {

/// The q rows that attend to nothing, or the kv columns that nothing attends to, for the heads that
/// share them.
struct EmptyLinesOfHeads {
  std::vector<int64_t> heads;
  std::vector<std::pair<int64_t, int64_t>> ranges;  ///< Half-open, in order, not empty.
};

/// Heads whose masks have such rows, grouped by equal rows. `threads` as for EmptyRows.
std::vector<EmptyLinesOfHeads> FindEmptyRows(const MultiHeadMask& mask, int threads);

/// "3,584 rows attend to nothing: q 100..199, ..."; with the heads where they differ.
std::string EmptyRowsText(const EmptyLinesOfHeads& empty, int64_t num_heads);
/// "36 columns are seen by nothing: kv 1,500..1,535".
std::string EmptyColumnsText(const EmptyLinesOfHeads& empty, int64_t num_heads);

/// [{heads, count, ranges}, ...].
boost::json::array EmptyRowsJson(const std::vector<EmptyLinesOfHeads>& empty);

/// [[begin, end], ...], half-open.
boost::json::array RangesJson(const std::vector<std::pair<int64_t, int64_t>>& ranges);

}  // namespace splashmask::cli
