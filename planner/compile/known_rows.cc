// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/known_rows.h"

#include <algorithm>
#include <utility>

namespace splashmask {

KnownRows::KnownRows(const Source& source, std::vector<bool> is_known, int64_t columns)
    : is_known_(std::move(is_known)), rows_(is_known_.size()), columns_(columns) {
  const MaskInfo& info = source.pass.info;
  const int64_t head = source.table_head;
  const int64_t height = info.block_mask->shape()[1], width = info.block_mask->shape()[2];
  const auto see = [&](int64_t row, int64_t column, int64_t i, int64_t j) {
    const auto block_class = static_cast<BlockClass>(info.block_mask->At(head, i, j));
    if (block_class == BlockClass::kEmpty || column < 0 || column >= columns_ || !has(row)) return;
    int32_t id = kNone;
    if (block_class == BlockClass::kPartial && source.numbered) {
      id = info.mask_next ? info.mask_next->At(head, i, j) : kNone;
      if (id < 0 || id >= source.num_blocks) {
        is_known_[static_cast<size_t>(row)] = false;
        return;
      }
    }
    Append(row, static_cast<int32_t>(column), block_class, id);
  };
  // Where a block is visible, data_next is its own index along the axis that may be shrunk.
  if (!source.is_dkv) {
    for (int64_t i = 0; i < height; ++i) {
      for (int64_t j = 0; j < width; ++j) see(i, info.data_next->At(head, i, j), i, j);
    }
    return;
  }
  const int64_t rows_per_shard = std::ssize(is_known_) / source.q_seq_shards;
  const int64_t entries_per_shard = height / source.q_seq_shards;
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t i = 0; i < height; ++i) {
      const int64_t first = i / entries_per_shard * rows_per_shard;
      see(first + info.data_next->At(head, i, j), j, i, j);
    }
  }
}

void KnownRows::Append(int64_t row, int32_t column, BlockClass block_class, int32_t id) {
  std::vector<GridRun>& runs = rows_[static_cast<size_t>(row)];
  if (!runs.empty() && runs.back().end == column && runs.back().block_class == block_class &&
      runs.back().id == id) {
    ++runs.back().end;
  } else {
    runs.push_back({column, column + 1, block_class, id});
  }
}

int64_t KnownRows::count() const { return std::count(is_known_.begin(), is_known_.end(), true); }

std::vector<int32_t> KnownGrids::Numbers() const {
  std::vector<bool> is_there(static_cast<size_t>(blocks.count()), false);
  for (const std::optional<KnownRows>& rows : masks) {
    for (int64_t row = 0; rows && row < rows->rows(); ++row) {
      if (!rows->has(row)) continue;
      for (const GridRun& run : rows->row(row)) {
        if (run.id != kNone) is_there[static_cast<size_t>(run.id)] = true;
      }
    }
  }
  std::vector<int32_t> numbers;
  for (size_t id = 0; id < is_there.size(); ++id) {
    if (is_there[id]) numbers.push_back(static_cast<int32_t>(id));
  }
  return numbers;
}

}  // namespace splashmask
