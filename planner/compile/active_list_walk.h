// SPDX-License-Identifier: Apache-2.0
#pragma once
// How the lists of the tokamax dialect are filled in parallel. Private to compile.
//
// A line is a row of a shard as the kernel walks it. Line l of shard s has the index
// s * in.lines() + l. In fwd the lines are parts of block rows, which are read one by one; in dkv
// they are columns, and a tile of them is filled row by row.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "splashmask/planner/compile/active_lists.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/tables.h"
#include "splashmask/planner/progress.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

/// Reads one block row from left to right, in pieces.
class RowReader {
 public:
  RowReader(const BlockGrid& grid, int64_t row) : runs_(grid.row(row)) {}

  /// Calls visit(begin, end, block_class, id) for the parts of runs before column `last` that have
  /// not been read; `id` is kNone where blocks have no number.
  template <typename Visit>
  void ReadTo(int64_t last, const Visit& visit) {
    for (; next_ < runs_.size(); ++next_) {
      const GridRun& run = runs_[next_];
      const int64_t begin = std::max<int64_t>(run.begin, at_);
      const int64_t end = std::min<int64_t>(run.end, last);
      if (begin >= end) return;
      visit(begin, end, run.block_class, run.id);
      at_ = end;
      if (end < run.end) return;
    }
  }

 private:
  std::span<const GridRun> runs_;
  size_t next_ = 0;
  int64_t at_ = 0;
};

/// fwd: calls work(line, kv_begin, kv_end, reader) for every line of every shard.
template <typename Work>
void ForEachLine(const ActiveListInputs& in, const Progress& progress, const Work& work) {
  constexpr int64_t kBand = 64;
  ParallelFor((in.grid.rows() + kBand - 1) / kBand, [&](int64_t band) {
    progress.ThrowIfStopped();
    const int64_t end = std::min(in.grid.rows(), (band + 1) * kBand);
    for (int64_t row = band * kBand; row < end; ++row) {
      RowReader reader(in.grid, row);
      const int64_t q_shard = row / in.q_blocks();
      for (int64_t kv_shard = 0; kv_shard < in.kv_seq_shards; ++kv_shard) {
        const int64_t shard = q_shard * in.kv_seq_shards + kv_shard;
        const int64_t kv_begin = kv_shard * in.kv_blocks();
        work(shard * in.lines() + row % in.q_blocks(), kv_begin, kv_begin + in.kv_blocks(), reader);
      }
    }
  });
}

/// Columns [first, last) of the block rows of one q shard.
struct Tile {
  int64_t first_row, rows, first, last;
  int64_t first_line;  ///< Of the column `first`; the others' follow.

  int64_t columns() const { return last - first; }
};

/// dkv: calls work(tile) for tiles that cover every line of every shard.
template <typename Work>
void ForEachTile(const ActiveListInputs& in, const Progress& progress, const Work& work) {
  constexpr int64_t kTile = 256;
  const int64_t columns = in.grid.columns;
  const int64_t tiles = (columns + kTile - 1) / kTile;
  ParallelFor(tiles * in.q_seq_shards, [&](int64_t i) {
    progress.ThrowIfStopped();
    const int64_t q_shard = i / tiles, first = i % tiles * kTile;
    work(Tile{q_shard * in.q_blocks(), in.q_blocks(), first, std::min(first + kTile, columns),
              q_shard * columns + first});
  });
}

/// Calls visit(column, block_class, id) for the visible blocks of row `row` of a tile; row and
/// column count from the tile's first, `id` is kNone when there is none.
template <typename Visit>
void ForEachBlock(const ActiveListInputs& in, const Tile& tile, int64_t row, const Visit& visit) {
  ForEachRun(in.grid, tile.first_row + row, tile.first, tile.last,
             [&](int64_t begin, int64_t end, BlockClass block_class, int32_t id) {
               for (int64_t column = begin; column < end; ++column) {
                 visit(column - tile.first, block_class, id);
               }
             });
}

}  // namespace splashmask
