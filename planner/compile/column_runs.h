// SPDX-License-Identifier: Apache-2.0
#pragma once
// The columns of a grid. Private to compile.

#include <cstdint>
#include <vector>

#include "splashmask/planner/compile/block_grid.h"

namespace splashmask {

/// Visible blocks of a column that lie one below the other and have one class and one number.
struct ColumnRun {
  int32_t last_row, count;
  BlockClass block_class;
  int32_t id;

  friend bool operator==(const ColumnRun&, const ColumnRun&) = default;
};

/// The runs of each of the columns [first, last), from the bottom up, among `rows` rows of a grid
/// from `first_row` on, which is row 0 of the runs. O(runs of the rows and of the columns).
std::vector<std::vector<ColumnRun>> FindColumnRuns(const BlockGrid& grid, int64_t first_row,
                                                   int64_t rows, int64_t first, int64_t last);

}  // namespace splashmask
