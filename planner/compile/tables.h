// SPDX-License-Identifier: Apache-2.0
#pragma once
// Step 4: grids -> data_next, mask_next and block_mask. Private to compile.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/head_masks.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/table_types.h"

namespace splashmask {

/// What the tables of one pass are made from.
struct TableInputs {
  const HeadMasks& heads;
  const std::vector<BlockGrid>& grids;  ///< One for each distinct mask.
  int64_t q_seq_shards;
  bool downcast;
  bool shrink;          ///< Drop empty blocks; only with a single distinct mask.
  int64_t num_partial;  ///< Distinct partial blocks; 0: there is no mask_next.

  int64_t rows() const { return grids.front().rows(); }
  int64_t columns() const { return grids.front().columns; }
  int64_t rows_per_shard() const { return rows() / q_seq_shards; }
};

struct NextTables {
  Table data_next;
  std::optional<Table> mask_next;
  Table block_mask;
};

/// fwd and dq. A step goes to the next visible block of the shard in the order (head, q, kv), and
/// wraps around at its end. Shrunk rows are padded on the right.
NextTables BuildFwdTables(const TableInputs& in);

/// dkv. The order is (kv, head, q), q counts from the start of the shard, and shrunk columns are
/// padded at the top.
NextTables BuildDkvTables(const TableInputs& in);

/// The columns of fwd's tables, and the rows that a q shard has in dkv's; 1 at least.
int64_t FwdWidth(const TableInputs& in);
int64_t DkvHeight(const TableInputs& in);

/// int8, int16 or int32, whichever is the smallest that holds `largest`; int32 without downcast.
DType SmallestType(int64_t largest, bool downcast);

/// Allocates the tables: [table heads, rows, columns], each of the smallest dtype that holds the
/// largest entry (int32 without downcast). Throws kTooLarge with the bytes they would take.
NextTables AllocateTables(const TableInputs& in, int64_t rows, int64_t columns,
                          int64_t largest_data);

/// Shards whose heads have the same masks have the same tables. Returns, for each head shard, the
/// first shard like it.
std::vector<int64_t> FirstShardLikeIt(const HeadMasks& heads);

/// Copies the tables of the first shard like it to every other shard.
void CopyRepeatedShards(const TableInputs& in, NextTables& tables);

/// Calls visit(begin, end, block_class, id) for the parts of a block row's runs inside the columns
/// [first, last); `id` is kNone where blocks have no number.
template <typename Visit>
void ForEachRun(const BlockGrid& grid, int64_t row, int64_t first, int64_t last, Visit&& visit) {
  const std::span<const GridRun> runs = grid.row(row);
  const auto ends_before = [&](const GridRun& run) { return run.end <= first; };
  for (auto run = std::partition_point(runs.begin(), runs.end(), ends_before);
       run != runs.end() && run->begin < last; ++run) {
    visit(std::max<int64_t>(run->begin, first), std::min<int64_t>(run->end, last), run->block_class,
          run->id);
  }
}

}  // namespace splashmask
