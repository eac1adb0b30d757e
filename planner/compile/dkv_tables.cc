// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "splashmask/planner/compile/column_runs.h"
#include "splashmask/planner/compile/tables.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// The walk of one head shard over one q shard. The kernel goes down a column of one head, then of
// the next head, then to the next column; all "next" entries follow from what comes first in each
// column of each head.
class ShardWalk {
 public:
  // Rows [first_row, first_row + rows) of the masks; `height` entries of a shrunk column are not
  // padding between q shards.
  ShardWalk(const TableInputs& in, std::vector<const BlockGrid*> grids, int64_t first_table_head,
            int64_t first_row, int64_t out_row, int64_t height)
      : in_(in),
        grids_(std::move(grids)),
        first_table_head_(first_table_head),
        first_row_(first_row),
        out_row_(out_row),
        height_(height) {}

  void Fill(NextTables& tables) {
    const int64_t heads = static_cast<int64_t>(grids_.size());
    const auto columns = static_cast<size_t>(heads * in_.columns());
    if (!in_.shrink) data_.assign(columns, kNone);
    if (tables.mask_next) mask_.assign(columns, kNone);
    ForEachTile([&](int64_t head, int64_t first, int64_t last) { FindFirst(head, first, last); });
    ToCarry(data_);
    ToCarry(mask_);
    ForEachTile([&](int64_t head, int64_t first, int64_t last) {
      if (in_.shrink) {
        FillShrunk(head, first, last, tables);
      } else {
        FillWhole(head, first, last, tables);
      }
    });
  }

 private:
  static constexpr int64_t kTile = 256;

  int64_t rows() const { return in_.rows_per_shard(); }

  // Columns are independent, once the carries are known.
  template <typename Work>
  void ForEachTile(const Work& work) const {
    const int64_t tiles = (in_.columns() + kTile - 1) / kTile;
    ParallelFor(tiles * std::ssize(grids_), [&](int64_t i) {
      const int64_t first = i % tiles * kTile;
      work(i / tiles, first, std::min(first + kTile, in_.columns()));
    });
  }

  int32_t* Of(std::vector<int32_t>& entries, int64_t head) const {
    return entries.empty() ? nullptr : entries.data() + head * in_.columns();
  }

  // The first visible row and the first partial id of each column of one head.
  void FindFirst(int64_t head, int64_t first, int64_t last) {
    if (data_.empty() && mask_.empty()) return;
    for (int64_t row = rows() - 1; row >= 0; --row) {
      Update(head, row, first, last, Of(data_, head), Of(mask_, head));
    }
  }

  // Overwrites the entries of the columns that row `row` sees (partially).
  void Update(int64_t head, int64_t row, int64_t first, int64_t last, int32_t* data,
              int32_t* mask) const {
    ForEachRun(*grids_[head], first_row_ + row, first, last,
               [&](int64_t begin, int64_t end, BlockClass, int32_t id) {
                 if (data != nullptr) {
                   std::fill(data + begin, data + end, static_cast<int32_t>(row));
                 }
                 if (mask != nullptr && id != kNone) std::fill(mask + begin, mask + end, id);
               });
  }

  // Turns "first of the column" into "first after the column", wrapping around at the end.
  void ToCarry(std::vector<int32_t>& first) const {
    const auto heads = static_cast<int64_t>(grids_.size());
    const auto at = [&](int64_t i) -> int32_t& {
      return first[i % heads * in_.columns() + i / heads];
    };
    const auto count = static_cast<int64_t>(first.size());
    int32_t next = 0;  // JAX leaves zeros where nothing is visible.
    for (int64_t i = 0; i < count; ++i) {
      if (at(i) == kNone) continue;
      next = at(i);
      break;
    }
    for (int64_t i = count - 1; i >= 0; --i) {
      const int32_t column_first = std::exchange(at(i), next);
      if (column_first != kNone) next = column_first;
    }
  }

  // Every block has an entry: walk up the rows, keeping what comes next in each column.
  void FillWhole(int64_t head, int64_t first, int64_t last, NextTables& tables) {
    int32_t* data = Of(data_, head);
    int32_t* mask = Of(mask_, head);
    for (int64_t row = rows() - 1; row >= 0; --row) {
      Update(head, row, first, last, data, mask);
      const int64_t out_row = out_row_ + row;
      WriteRow(tables.data_next, head, out_row, first, data + first, data + last);
      if (mask != nullptr) {
        WriteRow(*tables.mask_next, head, out_row, first, mask + first, mask + last);
      }
      WithType(tables.block_mask.dtype(), [&]<typename T>(T*) {
        T* out = RowOf<T>(tables.block_mask, head, out_row);
        std::fill(out + first, out + last, T{0});
        ForEachRun(*grids_[head], first_row_ + row, first, last,
                   [&](int64_t begin, int64_t end, BlockClass block_class, int32_t) {
                     std::fill(out + begin, out + end, static_cast<T>(block_class));
                   });
      });
    }
  }

  // Only visible blocks have an entry, the last one of each column in row height_ - 1. From there
  // upwards, many rows at a time in which no column comes to another run.
  void FillShrunk(int64_t head, int64_t first, int64_t last, NextTables& tables) {
    const auto columns = FindColumnRuns(*grids_[head], first_row_, rows(), first, last);
    const size_t width = columns.size();
    // What the entries of each column are, and the run that comes after `left` of them.
    std::vector<int32_t> row(width), step(width), block_class(width), mask(width);
    std::vector<int64_t> left(width, 0);
    std::vector<size_t> next(width, 0);
    if (tables.mask_next) {
      std::copy_n(mask_.begin() + head * in_.columns() + first, width, mask.begin());
    }
    const auto advance = [&](size_t c) {
      if (next[c] == columns[c].size()) {  // Zeros above.
        row[c] = step[c] = block_class[c] = mask[c] = 0;
        left[c] = height_;
        return;
      }
      const ColumnRun& run = columns[c][next[c]++];
      row[c] = run.last_row;
      step[c] = 1;
      block_class[c] = static_cast<int32_t>(run.block_class);
      if (run.id != kNone) mask[c] = run.id;
      left[c] = run.count;
    };
    for (int64_t end = height_; end > 0;) {
      int64_t count = end;
      for (size_t c = 0; c < width; ++c) {
        if (left[c] == 0) advance(c);
        count = std::min(count, left[c]);
      }
      end -= count;
      const int64_t out_row = out_row_ + end;
      FillUp(tables.data_next, head, out_row, count, first, row, step);
      FillUp(tables.block_mask, head, out_row, count, first, block_class, {});
      if (tables.mask_next) FillUp(*tables.mask_next, head, out_row, count, first, mask, {});
      for (size_t c = 0; c < width; ++c) {
        row[c] -= static_cast<int32_t>(count) * step[c];
        left[c] -= count;
      }
    }
    PadBelow(tables, head, first, last);
  }

  // The rows [row, row + count) of some columns from `first` on, from the bottom up: `values`, then
  // `step` less in each row above, if there are steps.
  void FillUp(Table& table, int64_t head, int64_t row, int64_t count, int64_t first,
              std::span<const int32_t> values, std::span<const int32_t> step) const {
    WithType(table.dtype(), [&]<typename T>(T*) {
      T now[kTile], less[kTile];
      std::copy(values.begin(), values.end(), now);
      std::copy(step.begin(), step.end(), less);
      for (int64_t r = row + count - 1; r >= row; --r) {
        std::copy_n(now, values.size(), RowOf<T>(table, head, r) + first);
        for (size_t c = 0; c < step.size(); ++c) now[c] = static_cast<T>(now[c] - less[c]);
      }
    });
  }

  // Between q shards of different heights the last entry is repeated, so that nothing new is
  // fetched; block_mask stays 0 there.
  void PadBelow(NextTables& tables, int64_t head, int64_t first, int64_t last) const {
    ForEachTable(tables, [&](Table& table) {
      WithType(table.dtype(), [&]<typename T>(T*) {
        for (int64_t row = height_; row < OutRows(table); ++row) {
          if (&table == &tables.block_mask || height_ == 0) {
            FillPart(table, head, out_row_ + row, first, last, 0);
            continue;
          }
          const T* edge = RowOf<T>(table, head, out_row_ + height_ - 1);
          std::copy(edge + first, edge + last, RowOf<T>(table, head, out_row_ + row) + first);
        }
      });
    });
  }

  template <typename Work>
  static void ForEachTable(NextTables& tables, const Work& work) {
    work(tables.data_next);
    work(tables.block_mask);
    if (tables.mask_next) work(*tables.mask_next);
  }

  // Rows that this q shard has in the tables.
  int64_t OutRows(const Table& table) const { return table.shape()[1] / in_.q_seq_shards; }

  int64_t FlatIndex(const Table& table, int64_t head, int64_t row) const {
    return ((first_table_head_ + head) * table.shape()[1] + row) * in_.columns();
  }
  template <typename T>
  T* RowOf(Table& table, int64_t head, int64_t row) const {
    return table.as<T>() + FlatIndex(table, head, row);
  }
  void FillPart(Table& table, int64_t head, int64_t row, int64_t begin, int64_t end,
                int32_t value) const {
    WithType(table.dtype(), [&]<typename T>(T*) {
      T* out = RowOf<T>(table, head, row);
      std::fill(out + begin, out + end, static_cast<T>(value));
    });
  }
  void WriteRow(Table& table, int64_t head, int64_t row, int64_t first, const int32_t* begin,
                const int32_t* end) const {
    WithType(table.dtype(), [&]<typename T>(T*) {
      std::transform(begin, end, RowOf<T>(table, head, row) + first,
                     [](int32_t value) { return static_cast<T>(value); });
    });
  }

  const TableInputs& in_;
  const std::vector<const BlockGrid*> grids_;
  const int64_t first_table_head_, first_row_, out_row_, height_;
  // Per head and column: first the first entry, then the entry that comes next below the current
  // row. data_ is empty where columns shrink, as nothing comes between visible blocks; mask_ is
  // empty without mask_next.
  std::vector<int32_t> data_, mask_;
};

// Heights of the q shards; where they shrink, each to its longest column.
std::vector<int64_t> Heights(const TableInputs& in) {
  if (!in.shrink) return std::vector(static_cast<size_t>(in.q_seq_shards), in.rows_per_shard());
  std::vector<int64_t> heights;
  for (int64_t q_shard = 0; q_shard < in.q_seq_shards; ++q_shard) {
    std::vector<int64_t> change(static_cast<size_t>(in.columns()) + 1, 0);
    for (int64_t row = 0; row < in.rows_per_shard(); ++row) {
      for (const auto& run : in.grids.front().row(q_shard * in.rows_per_shard() + row)) {
        ++change[run.begin];
        --change[run.end];
      }
    }
    int64_t count = 0, height = 0;
    for (int64_t delta : change) height = std::max(height, count += delta);
    heights.push_back(height);
  }
  return heights;
}

// Counted from the start of its q shard.
int64_t LargestRow(const TableInputs& in) {
  int64_t largest = 0;
  for (const BlockGrid& grid : in.grids) {
    for (int64_t row = 0; row < grid.rows(); ++row) {
      if (!grid.row(row).empty()) largest = std::max(largest, row % in.rows_per_shard());
    }
  }
  return largest;
}

}  // namespace

int64_t DkvHeight(const TableInputs& in) {
  const std::vector<int64_t> heights = Heights(in);
  return std::max<int64_t>(1, *std::max_element(heights.begin(), heights.end()));
}

NextTables BuildDkvTables(const TableInputs& in) {
  const std::vector<int64_t> heights = Heights(in);
  const int64_t out_rows = DkvHeight(in);
  NextTables tables = AllocateTables(in, out_rows * in.q_seq_shards, in.columns(), LargestRow(in));

  const std::vector<int64_t> first_like = FirstShardLikeIt(in.heads);
  for (int64_t shard = 0; shard < in.heads.head_shards; ++shard) {
    if (first_like[shard] != shard) continue;
    std::vector<const BlockGrid*> grids;
    for (int mask : in.heads.Shard(shard)) grids.push_back(&in.grids[mask]);
    for (int64_t q_shard = 0; q_shard < in.q_seq_shards; ++q_shard) {
      ShardWalk(in, grids, shard * in.heads.heads_per_shard(), q_shard * in.rows_per_shard(),
                q_shard * out_rows, heights[q_shard])
          .Fill(tables);
    }
  }
  CopyRepeatedShards(in, tables);
  return tables;
}

}  // namespace splashmask
