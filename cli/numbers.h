// SPDX-License-Identifier: Apache-2.0
#pragma once
// Numbers as people read them.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/planner/grouped.h"

namespace splashmask::cli {

/// 65536 -> "64.0 KiB", 100 -> "100 bytes".
std::string Bytes(int64_t bytes);

/// 0.501953 -> "50.2 %". A share that is not quite 0 or 1 never reads so.
std::string Percent(double share);

/// Seconds with three significant digits: "83.0 µs", "41.2 ms", "1.30 s".
std::string Duration(double seconds);

/// Half-open ranges as inclusive ones, at most `most` of them: "100..199, 300, ...".
std::string Ranges(const std::vector<std::pair<int64_t, int64_t>>& ranges, size_t most = 4);

/// The positions in half-open ranges.
int64_t CountPositions(const std::vector<std::pair<int64_t, int64_t>>& ranges);

/// A sorted list of heads out of `num_heads`: "all 32 heads", "head 3", "heads 0..7, 16..23".
std::string Heads(const std::vector<int64_t>& heads, int64_t num_heads);

}  // namespace splashmask::cli
