// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/column_runs.h"

#include <algorithm>
#include <utility>

#include "splashmask/planner/compile/tables.h"

namespace splashmask {

namespace {

struct Block {
  BlockClass block_class = BlockClass::kEmpty;
  int32_t id = kNone;
  friend bool operator==(const Block&, const Block&) = default;
};
constexpr Block kEmptyBlock{};

// Meets the rows of a tile of columns from the bottom up.
class ColumnTile {
 public:
  explicit ColumnTile(int64_t columns)
      : now_(static_cast<size_t>(columns)),
        last_row_(static_cast<size_t>(columns)),
        runs_(static_cast<size_t>(columns)) {}

  // The runs of `row`, which count columns from the first of the tile.
  void See(int32_t row, const std::vector<GridRun>& row_runs) {
    if (row_runs == row_runs_) return;
    row_runs_ = row_runs;
    int32_t column = 0;
    for (const GridRun& run : row_runs) {
      while (column < run.begin) Change(column++, row, kEmptyBlock);
      while (column < run.end) Change(column++, row, {run.block_class, run.id});
    }
    while (column < std::ssize(now_)) Change(column++, row, kEmptyBlock);
  }

  std::vector<std::vector<ColumnRun>> TakeRuns() {
    See(-1, {});
    return std::move(runs_);
  }

 private:
  // From `row` upwards the column holds `block`.
  void Change(int32_t column, int32_t row, Block block) {
    Block& now = now_[static_cast<size_t>(column)];
    if (now == block) return;
    int32_t& last_row = last_row_[static_cast<size_t>(column)];
    if (now != kEmptyBlock) {
      runs_[static_cast<size_t>(column)].push_back(
          {last_row, last_row - row, now.block_class, now.id});
    }
    now = block;
    last_row = row;
  }

  std::vector<GridRun> row_runs_;
  std::vector<Block> now_;
  std::vector<int32_t> last_row_;  // Of what each column holds now.
  std::vector<std::vector<ColumnRun>> runs_;
};

}  // namespace

std::vector<std::vector<ColumnRun>> FindColumnRuns(const BlockGrid& grid, int64_t first_row,
                                                   int64_t rows, int64_t first, int64_t last) {
  ColumnTile tile(last - first);
  std::vector<GridRun> runs;
  for (int64_t row = rows - 1; row >= 0; --row) {
    runs.clear();
    ForEachRun(grid, first_row + row, first, last,
               [&](int64_t begin, int64_t end, BlockClass block_class, int32_t id) {
                 runs.push_back({static_cast<int32_t>(begin - first),
                                 static_cast<int32_t>(end - first), block_class, id});
               });
    tile.See(static_cast<int32_t>(row), runs);
  }
  return tile.TakeRuns();
}

}  // namespace splashmask
