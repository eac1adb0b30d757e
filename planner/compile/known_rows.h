// SPDX-License-Identifier: Apache-2.0
#pragma once
// Block rows of a mask that an earlier plan has the blocks of. Private to compile.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/planner/compile/block_grid.h"
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
  };

  /// The first `columns` block columns of those rows of the source for which `is_known` holds,
  /// which has an entry for each of its rows. Keeps its partial blocks alive.
  KnownRows(const Source& source, std::vector<bool> is_known, int64_t columns);

  bool has(int64_t row) const {
    return row < static_cast<int64_t>(is_known_.size()) && is_known_[static_cast<size_t>(row)];
  }
  /// Block columns that are known of those rows.
  int64_t columns() const { return columns_; }
  /// Runs of blocks of one class and one number, inside columns(), from left to right.
  std::span<const GridRun> row(int64_t row) const { return rows_[static_cast<size_t>(row)]; }
  int64_t count() const;

  /// Rows [first, first + count) of partial block `id`, one row a row of `out`.
  void Draw(int32_t id, int64_t first, int64_t count, BitRows out) const;

 private:
  void Append(int64_t row, int64_t column, int32_t block_class, int32_t id);

  std::vector<bool> is_known_;
  std::vector<std::vector<GridRun>> rows_;
  int64_t columns_;
  bool is_dkv_;
  std::optional<PartialMaskBlocks> blocks_;
};

}  // namespace splashmask
