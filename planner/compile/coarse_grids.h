// SPDX-License-Identifier: Apache-2.0
#pragma once
// Grids of large blocks from grids of smaller ones, without another look at the mask. Private to
// compile.

#include <cstdint>
#include <map>
#include <vector>

#include "splashmask/planner/compile/block_grid.h"

namespace splashmask {

/// The grids of all distinct masks of a plan, and how many numbers their partial blocks have, if
/// they have any.
struct NumberedGrids {
  std::vector<BlockGrid> grids;
  bool is_numbered = false;
  int64_t num_partial = 0;
};

/// Keeps grids and what it made of them.
class CoarseGrids {
 public:
  /// `finest` are as PartialBlocks finds them.
  explicit CoarseGrids(const NumberedGrids& finest);

  /// Blocks of `rows` by `columns` of the finest, which divide the grid's. Equal to the grids that
  /// PartialBlocks finds for blocks of that shape: classes, runs and numbers. O(runs).
  NumberedGrids Merge(int64_t rows, int64_t columns);

  /// Of the finest blocks those that are not empty.
  int64_t CountVisible() const;

 private:
  /// What a block holds: a number, which two blocks have in common if and only if their cells are
  /// equal, or one of these. Without numbers every partial block is kPartial.
  using Content = int32_t;
  static constexpr Content kPartial = -1, kFull = -2, kEmpty = -3;

  struct ContentRun {
    int64_t begin, end;
    Content content;
  };
  using ContentRow = std::vector<ContentRun>;  // Without empty blocks.
  using ContentGrid = std::vector<ContentRow>;
  class Joins;

  /// The grids with rows merged, `rows` at a time.
  const std::vector<ContentGrid>& RowsMerged(int64_t rows);
  static Content ContentOf(const ContentRun* run);
  static void Append(ContentRow& row, int64_t begin, int64_t end, Content content);
  static ContentRow Beside(const ContentRow& above, const ContentRow& below, Joins& joins);
  static ContentRow ColumnsMerged(const ContentRow& row, int64_t columns, Joins& joins);
  NumberedGrids Number(const std::vector<ContentGrid>& grids, int64_t columns) const;

  bool is_numbered_;
  int64_t columns_;
  std::map<int64_t, std::vector<ContentGrid>> by_rows_;
};

}  // namespace splashmask
