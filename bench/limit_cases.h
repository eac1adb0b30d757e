// SPDX-License-Identifier: Apache-2.0
#pragma once
// The masks whose compile time is held against the time to write the answer.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask {

/// A row of the table, or one of the masks of which a row shows the worst.
struct LimitCase {
  std::string name;  ///< Cases of one name make one row.
  std::function<MultiHeadMask(int64_t length)> make;
  int64_t length;
  CompileOptions options;  ///< Block 512, fwd and dkv.
  /// At most write_times * write + milliseconds.
  double write_times, milliseconds;
  bool is_analytic = false;  ///< Then the time beyond write must not grow faster than the length.
  bool draws = false;        ///< Most of the output are partial blocks: their rate is shown.
};

/// All but the dense arrays, in the order of the table.
std::vector<LimitCase> LimitCases();

/// Documents of log-normal lengths, mean about 1,500, that cover [0, length).
std::vector<int64_t> LogNormalDocuments(int64_t length, uint64_t seed);

}  // namespace splashmask
