// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/column_runs.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "splashmask/planner/compile/run_cursor.h"
#include "splashmask/planner/compile/tables.h"

namespace splashmask {

namespace {

struct Block {
  BlockClass block_class = BlockClass::kEmpty;
  int32_t id = kNone;
  friend bool operator==(const Block&, const Block&) = default;
};
constexpr Block kEmptyBlock{};

Block BlockOf(const GridRun* run) {
  return run != nullptr ? Block{run->block_class, run->id} : kEmptyBlock;
}

// Meets the rows of a tile of columns from the bottom up.
class ColumnTile {
 public:
  explicit ColumnTile(int64_t columns)
      : last_row_(static_cast<size_t>(columns)), runs_(static_cast<size_t>(columns)) {}

  // The runs of `row`, which count columns from the first of the tile.
  void See(int32_t row, const std::vector<GridRun>& row_runs) {
    RunCursor<GridRun> below(row_runs_), now(row_runs);
    for (int64_t column = 0, end; column < std::ssize(runs_); column = end) {
      const auto [old_run, old_end] = below.At(column);
      const auto [new_run, new_end] = now.At(column);
      const Block old_block = BlockOf(old_run), new_block = BlockOf(new_run);
      end = std::min({old_end, new_end, int64_t{std::ssize(runs_)}});
      if (old_block == new_block) continue;
      for (int64_t c = column; c < end; ++c) Change(static_cast<size_t>(c), row, old_block);
    }
    row_runs_ = row_runs;
  }

  std::vector<std::vector<ColumnRun>> TakeRuns() {
    See(-1, {});
    return std::move(runs_);
  }

 private:
  // From `row` upwards the column no longer holds `block`.
  void Change(size_t column, int32_t row, Block block) {
    int32_t& last_row = last_row_[column];
    if (block != kEmptyBlock) {
      runs_[column].push_back({last_row, last_row - row, block.block_class, block.id});
    }
    last_row = row;
  }

  std::vector<GridRun> row_runs_;  // Of the row that was met last.
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
