// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "splashmask/planner/compile/tables.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

int64_t VisibleBlocks(const BlockGrid& grid, int64_t row) {
  int64_t count = 0;
  for (const auto& run : grid.row(row)) count += run.end - run.begin;
  return count;
}

// What follows the last visible (partial) block of a row: the first one of a later row, or, past
// the last row of the shard, the shard's first.
struct RowCarry {
  int32_t data = 0;
  int32_t mask = 0;
};

// Rows of one head shard and q shard, in the order in which the kernel walks them.
struct WalkedRow {
  const BlockGrid* grid;
  int64_t table_head;
  int64_t row;    // Block row of the mask.
  int64_t width;  // Entries that are not padding between q shards.
  RowCarry carry;
};

int32_t FirstColumn(const WalkedRow& walked) {
  const auto runs = walked.grid->row(walked.row);
  return runs.empty() ? kNone : runs.front().begin;
}

int32_t FirstPartialId(const WalkedRow& walked) {
  for (const GridRun& run : walked.grid->row(walked.row)) {
    if (run.id != kNone) return run.id;
  }
  return kNone;
}

// Walks a shard backwards and notes for each row what comes after it.
template <typename First>
void SetCarries(std::vector<WalkedRow>& walk, int32_t RowCarry::*field, First first) {
  int32_t next = 0;  // JAX leaves zeros where nothing is visible.
  for (const WalkedRow& walked : walk) {
    if (first(walked) == kNone) continue;
    next = first(walked);
    break;
  }
  for (auto walked = walk.rbegin(); walked != walk.rend(); ++walked) {
    walked->carry.*field = next;
    if (first(*walked) != kNone) next = first(*walked);
  }
}

// Fills one row of one table; `columns` entries.
template <typename T>
class RowFiller {
 public:
  RowFiller(const WalkedRow& walked, bool shrink, int64_t columns, T* out)
      : walked_(walked), shrink_(shrink), columns_(columns), out_(out) {}

  void DataNext() {
    ForEachRun(*walked_.grid, walked_.row, 0, walked_.grid->columns,
               [&](int64_t begin, int64_t end, BlockClass, int32_t) {
                 if (!shrink_) FillTo(begin, begin);
                 std::iota(out_ + at_, out_ + at_ + (end - begin), static_cast<T>(begin));
                 at_ += end - begin;
               });
    Finish(walked_.carry.data, /*pad_with_edge=*/true);
  }

  void MaskNext() {
    // Full blocks name the partial block that comes next; `pending` counts those not yet filled.
    int64_t pending_end = 0;
    ForEachRun(*walked_.grid, walked_.row, 0, walked_.grid->columns,
               [&](int64_t begin, int64_t end, BlockClass, int32_t id) {
                 pending_end = shrink_ ? pending_end + (end - begin) : end;
                 if (id != kNone) FillTo(pending_end, id);
               });
    if (shrink_) FillTo(pending_end, walked_.carry.mask);
    Finish(walked_.carry.mask, /*pad_with_edge=*/true);
  }

  void BlockMask() {
    ForEachRun(*walked_.grid, walked_.row, 0, walked_.grid->columns,
               [&](int64_t begin, int64_t end, BlockClass block_class, int32_t) {
                 if (!shrink_) FillTo(begin, 0);
                 FillTo(at_ + (end - begin), static_cast<int32_t>(block_class));
               });
    Finish(0, /*pad_with_edge=*/false);
  }

 private:
  void FillTo(int64_t end, int32_t value) {
    std::fill(out_ + at_, out_ + end, static_cast<T>(value));
    at_ = end;
  }

  // The rest of the row: `carry` in a row as long as the mask; in a shrunk one zeros up to the
  // width of its q shard, then the last of those entries repeated, so that nothing new is fetched.
  void Finish(int32_t carry, bool pad_with_edge) {
    if (!shrink_) {
      FillTo(columns_, carry);
      return;
    }
    FillTo(walked_.width, 0);
    FillTo(columns_, pad_with_edge && at_ > 0 ? static_cast<int32_t>(out_[at_ - 1]) : 0);
  }

  const WalkedRow& walked_;
  const bool shrink_;
  const int64_t columns_;
  T* const out_;
  int64_t at_ = 0;
};

template <typename T>
RowFiller<T> FillerFor(const WalkedRow& walked, const TableInputs& in, Table& table) {
  const int64_t columns = table.shape()[2];
  T* out = table.as<T>() + (walked.table_head * table.shape()[1] + walked.row) * columns;
  return RowFiller<T>(walked, in.shrink, columns, out);
}

void FillRow(const WalkedRow& walked, const TableInputs& in, NextTables& tables) {
  WithType(tables.data_next.dtype(),
           [&]<typename T>(T*) { FillerFor<T>(walked, in, tables.data_next).DataNext(); });
  WithType(tables.block_mask.dtype(),
           [&]<typename T>(T*) { FillerFor<T>(walked, in, tables.block_mask).BlockMask(); });
  if (!tables.mask_next) return;
  WithType(tables.mask_next->dtype(),
           [&]<typename T>(T*) { FillerFor<T>(walked, in, *tables.mask_next).MaskNext(); });
}

// Widths of the q shards; where they shrink, each to its longest row.
std::vector<int64_t> Widths(const TableInputs& in) {
  if (!in.shrink) return std::vector(static_cast<size_t>(in.q_seq_shards), in.columns());
  std::vector<int64_t> widths(static_cast<size_t>(in.q_seq_shards), 0);
  const BlockGrid& grid = in.grids.front();
  for (int64_t row = 0; row < in.rows(); ++row) {
    int64_t& width = widths[row / in.rows_per_shard()];
    width = std::max(width, VisibleBlocks(grid, row));
  }
  return widths;
}

int64_t LargestColumn(const TableInputs& in) {
  int64_t largest = 0;
  for (const BlockGrid& grid : in.grids) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      if (!grid.row(row).empty())
        largest = std::max<int64_t>(largest, grid.row(row).back().end - 1);
    }
  }
  return largest;
}

}  // namespace

int64_t FwdWidth(const TableInputs& in) {
  const std::vector<int64_t> widths = Widths(in);
  return std::max<int64_t>(1, *std::max_element(widths.begin(), widths.end()));
}

NextTables BuildFwdTables(const TableInputs& in) {
  const std::vector<int64_t> widths = Widths(in);
  const int64_t columns = FwdWidth(in);
  NextTables tables = AllocateTables(in, in.rows(), columns, LargestColumn(in));

  const std::vector<int64_t> first_like = FirstShardLikeIt(in.heads);
  const int64_t heads = in.heads.heads_per_shard();
  const int64_t rows = in.rows_per_shard();
  std::vector<WalkedRow> walk;
  for (int64_t shard = 0; shard < in.heads.head_shards; ++shard) {
    if (first_like[shard] != shard) continue;
    const std::vector<int> masks = in.heads.Shard(shard);
    for (int64_t q_shard = 0; q_shard < in.q_seq_shards; ++q_shard) {
      walk.clear();
      for (int64_t head = 0; head < heads; ++head) {
        for (int64_t row = q_shard * rows; row < (q_shard + 1) * rows; ++row) {
          walk.push_back({&in.grids[masks[head]], shard * heads + head, row, widths[q_shard], {}});
        }
      }
      SetCarries(walk, &RowCarry::data, FirstColumn);
      if (in.num_partial > 0) SetCarries(walk, &RowCarry::mask, FirstPartialId);
      ParallelFor(std::ssize(walk), [&](int64_t i) { FillRow(walk[i], in, tables); });
    }
  }
  CopyRepeatedShards(in, tables);
  return tables;
}

}  // namespace splashmask
