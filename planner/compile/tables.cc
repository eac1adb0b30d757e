// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/tables.h"

#include <algorithm>

#include "splashmask/planner/compile/table_memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// Has the system clear each huge page once: threads that write parts of one at the same time would
// each clear one.
void TouchPages(Table& table) {
  constexpr int64_t kHugePage = int64_t{2} << 20;
  const int64_t pages = table.size_bytes() / kHugePage;
  ParallelFor(pages, [&](int64_t page) { table.data()[page * kHugePage] = std::byte{0}; });
}

}  // namespace

DType SmallestType(int64_t largest, bool downcast) {
  if (!downcast || largest > INT16_MAX) return DType::kInt32;
  return largest > INT8_MAX ? DType::kInt16 : DType::kInt8;
}

NextTables AllocateTables(const TableInputs& in, int64_t rows, int64_t columns,
                          int64_t largest_data) {
  const auto heads = static_cast<int64_t>(in.heads.table_heads.size());
  const DType data_type = SmallestType(largest_data, in.downcast);
  const DType mask_type = SmallestType(in.num_partial - 1, in.downcast);
  const DType class_type = SmallestType(2, in.downcast);
  const bool has_mask_next = in.num_partial > 0;

  const int64_t entry_bytes =
      DTypeSize(data_type) + DTypeSize(class_type) + (has_mask_next ? DTypeSize(mask_type) : 0);
  CheckTableMemory({heads, rows, columns, entry_bytes});
  NextTables tables{Table(data_type, {heads, rows, columns}), std::nullopt,
                    Table(class_type, {heads, rows, columns})};
  if (has_mask_next) tables.mask_next = Table(mask_type, {heads, rows, columns});
  TouchPages(tables.data_next);
  TouchPages(tables.block_mask);
  if (has_mask_next) TouchPages(*tables.mask_next);
  return tables;
}

std::vector<int64_t> FirstShardLikeIt(const HeadMasks& heads) {
  std::vector<int64_t> first;
  for (int64_t shard = 0; shard < heads.head_shards; ++shard) {
    int64_t like = 0;
    while (heads.Shard(like) != heads.Shard(shard)) ++like;
    first.push_back(like);
  }
  return first;
}

void CopyRepeatedShards(const TableInputs& in, NextTables& tables) {
  const std::vector<int64_t> first = FirstShardLikeIt(in.heads);
  const auto copy = [&](Table& table) {
    const int64_t shard_bytes = table.size_bytes() / in.heads.head_shards;
    for (int64_t shard = 0; shard < in.heads.head_shards; ++shard) {
      if (first[shard] == shard) continue;
      std::copy_n(table.data() + first[shard] * shard_bytes, shard_bytes,
                  table.data() + shard * shard_bytes);
    }
  };
  copy(tables.data_next);
  copy(tables.block_mask);
  if (tables.mask_next) copy(*tables.mask_next);
}

}  // namespace splashmask
