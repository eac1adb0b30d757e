// SPDX-License-Identifier: Apache-2.0
#pragma once
// Block rows of a mask that an earlier plan has the blocks of. Private to compile.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/known_blocks.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

class KnownRows {
 public:
  /// What the tables of a pass say.
  struct Source {
    const CompiledPass& pass;
    bool is_dkv;
    int64_t q_seq_shards;
    int64_t table_head;
    bool numbered;       ///< Whether partial blocks have numbers in mask_next.
    int64_t num_blocks;  ///< Below which numbers are.
  };

  /// The first `columns` block columns of those rows of the source for which `is_known` holds,
  /// which has an entry for each of its rows; rows of which the tables make no sense are not known.
  KnownRows(const Source& source, std::vector<bool> is_known, int64_t columns);

  bool has(int64_t row) const {
    return row >= 0 && row < rows() && is_known_[static_cast<size_t>(row)];
  }
  /// Block columns that are known of those rows.
  int64_t columns() const { return columns_; }
  /// Runs of blocks of one class and one number, inside columns(), from left to right.
  std::span<const GridRun> row(int64_t row) const { return rows_[static_cast<size_t>(row)]; }
  int64_t rows() const { return static_cast<int64_t>(rows_.size()); }
  int64_t count() const;  ///< Of the rows that are known.

 private:
  void Append(int64_t row, int32_t column, BlockClass block_class, int32_t id);

  std::vector<bool> is_known_;
  std::vector<std::vector<GridRun>> rows_;
  int64_t columns_;
};

/// What a plan has, for one block shape, of the distinct masks of another.
struct KnownGrids {
  KnownBlocks blocks;  ///< That the runs number.
  std::vector<std::optional<KnownRows>> masks;

  const KnownRows* rows_of(size_t mask) const {
    return mask < masks.size() && masks[mask] ? &*masks[mask] : nullptr;
  }
  /// The numbers that there are in the runs, in order.
  std::vector<int32_t> Numbers() const;
};

}  // namespace splashmask
