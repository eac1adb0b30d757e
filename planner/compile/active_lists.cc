// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/active_lists.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/active_list_walk.h"
#include "splashmask/planner/compile/tables.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// The longest of the lists decides how long all are; each line has its place in its shard's part.
class Builder {
 public:
  Builder(const ActiveListInputs& in, const Progress& progress) : in_(in), progress_(progress) {}

  ActiveLists Build() {
    Survey();
    LayOut();
    if (in_.num_partial > 0) ToCarry();
    CheckMemory();
    ActiveLists lists;
    lists.block_mask = MakeList(2, [&](auto* out) { FillClasses(out); });
    if (in_.num_partial > 0) {
      lists.mask_next = MakeList(in_.num_partial - 1, [&](auto* out) { FillMaskNext(out); });
    }
    if (in_.active_only) {
      lists.active_rows = MakeList(LargestRow(), [&](auto* out) { FillRows(out); });
      lists.active_cols = MakeList(LargestColumn(), [&](auto* out) { FillColumns(out); });
      const std::vector<int32_t> lengths(shard_entries_.begin(), shard_entries_.end());
      lists.num_active_blocks = Array::FromVector(lengths);
    }
    return lists;
  }

 private:
  // ---- How many blocks each line shows, and the first partial one.

  void Survey() {
    const auto lines = static_cast<size_t>(in_.shards() * in_.lines());
    visible_.assign(lines, 0);
    if (in_.num_partial > 0) carry_.assign(lines, kNone);
    const auto see = [&](int64_t line, int64_t blocks, int32_t id) {
      visible_[line] += static_cast<int32_t>(blocks);
      if (id != kNone && carry_[line] == kNone) carry_[line] = id;
    };
    if (in_.is_dkv) {
      ForEachTile(in_, progress_, [&](const Tile& tile) {
        for (int64_t row = 0; row < tile.rows; ++row) {
          ForEachBlock(in_, tile, row, [&](int64_t column, BlockClass, int32_t id) {
            see(tile.first_line + column, 1, id);
          });
        }
      });
    } else {
      ForEachLine(in_, progress_, [&](int64_t line, int64_t, int64_t kv_end, RowReader& reader) {
        reader.ReadTo(kv_end, [&](int64_t begin, int64_t end, BlockClass, int32_t id) {
          see(line, end - begin, id);
        });
      });
    }
  }

  // A dkv row without visible blocks is listed with its first block, as only a visit initialises
  // that tile of dk and dv.
  int64_t Entries(int64_t line) const {
    if (!in_.active_only) return in_.line_blocks();
    return in_.is_dkv ? std::max(visible_[line], 1) : visible_[line];
  }
  bool IsDummy(int64_t line) const { return in_.active_only && visible_[line] == 0; }

  void LayOut() {
    line_begin_.reserve(visible_.size());
    for (int64_t shard = 0; shard < in_.shards(); ++shard) {
      int64_t entries = 0;
      for (int64_t line = shard * in_.lines(); line < (shard + 1) * in_.lines(); ++line) {
        line_begin_.push_back(entries);
        entries += Entries(line);
      }
      shard_entries_.push_back(entries);
    }
    longest_ = *std::max_element(shard_entries_.begin(), shard_entries_.end());
  }

  // Where a line begins in the lists.
  int64_t Begin(int64_t line) const { return line / in_.lines() * longest_ + line_begin_[line]; }

  // Turns "first partial block of the line" into "first one after the line"; past the last of a
  // shard comes the shard's first.
  void ToCarry() {
    for (int64_t shard = 0; shard < in_.shards(); ++shard) {
      const auto lines = std::span(carry_).subspan(static_cast<size_t>(shard * in_.lines()),
                                                   static_cast<size_t>(in_.lines()));
      const auto first = std::ranges::find_if(lines, [](int32_t id) { return id != kNone; });
      int32_t next = first == lines.end() ? kNone : *first;
      for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
        const int32_t line_first = std::exchange(*line, next);
        if (line_first != kNone) next = line_first;
      }
    }
  }

  // ---- The lists.

  int64_t size() const { return longest_ * in_.shards(); }

  int64_t LargestRow() const {
    for (int64_t row = in_.lines() - 1; row > 0; --row) {
      for (int64_t shard = 0; shard < in_.shards(); ++shard) {
        if (Entries(shard * in_.lines() + row) > 0) return row;
      }
    }
    return 0;
  }

  int64_t LargestColumn() const {
    int64_t largest = 0;
    for (int64_t row = 0; row < in_.grid.rows(); ++row) {
      if (in_.is_dkv) {
        if (!in_.grid.row(row).empty()) largest = std::max(largest, row % in_.q_blocks());
        continue;
      }
      for (const auto& run : in_.grid.row(row)) {
        const bool reaches_end = run.begin / in_.kv_blocks() != run.end / in_.kv_blocks();
        largest =
            std::max(largest, (reaches_end ? in_.kv_blocks() : run.end % in_.kv_blocks()) - 1);
      }
    }
    return largest;
  }

  DType TypeFor(int64_t largest) const {
    // tokamax leaves a list without any entry as it is.
    return size() == 0 ? DType::kInt32 : SmallestType(largest, in_.downcast);
  }

  void CheckMemory() const {
    const int64_t most = std::numeric_limits<int32_t>::max();
    if (longest_ > most) {
      throw Error(ErrorCode::kTooLarge,
                  fmt::format("[compile] expected at most {} listed blocks a shard, as tokamax "
                              "counts them in int32; got {}: use larger blocks",
                              most, longest_));
    }
    int64_t entry_bytes = DTypeSize(TypeFor(2));
    if (in_.num_partial > 0) entry_bytes += DTypeSize(TypeFor(in_.num_partial - 1));
    if (in_.active_only) {
      entry_bytes += DTypeSize(TypeFor(LargestRow())) + DTypeSize(TypeFor(LargestColumn()));
    }
    const ByteCount bytes = static_cast<ByteCount>(size()) * static_cast<ByteCount>(entry_bytes);
    if (FitsInMemory(bytes)) return;
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[compile] expected the lists of blocks to fit in memory ({} bytes are "
                            "left), but {} entries take {} bytes: use larger blocks",
                            AvailableMemory(), size(), fmt::to_string(bytes)));
  }

  // A list of the smallest dtype that holds `largest`; `fill` gets its elements as that type.
  template <typename Fill>
  Array MakeList(int64_t largest, const Fill& fill) const {
    const DType dtype = TypeFor(largest);
    const std::shared_ptr<std::byte> bytes = AllocateBytes(size() * DTypeSize(dtype));
    WithType(dtype, [&]<typename T>(T*) {
      T* out = reinterpret_cast<T*>(bytes.get());
      fill(out);
      for (int64_t shard = 0; shard < in_.shards(); ++shard) {
        T* begin = out + shard * longest_;
        std::fill(begin + shard_entries_[shard], begin + longest_, static_cast<T>(kNone));
      }
    });
    return Array(dtype, {size()}, bytes);
  }

  template <typename T>
  void FillRows(T* out) const {
    constexpr int64_t kBand = 4096;
    const int64_t lines = std::ssize(visible_);
    ParallelFor((lines + kBand - 1) / kBand, [&](int64_t band) {
      for (int64_t line = band * kBand; line < std::min(lines, (band + 1) * kBand); ++line) {
        std::fill_n(out + Begin(line), Entries(line), static_cast<T>(line % in_.lines()));
      }
    });
  }

  template <typename T>
  void FillColumns(T* out) const {
    if (in_.is_dkv) {
      ForEachTile(in_, progress_, [&](const Tile& tile) {
        std::vector<T*> at = StartColumns(tile, out);
        for (int64_t row = 0; row < tile.rows; ++row) {
          ForEachBlock(in_, tile, row, [&](int64_t column, BlockClass, int32_t) {
            *at[column]++ = static_cast<T>(row);
          });
        }
      });
      return;
    }
    ForEachLine(in_, progress_,
                [&](int64_t line, int64_t kv_begin, int64_t kv_end, RowReader& reader) {
                  T* at = out + Begin(line);
                  reader.ReadTo(kv_end, [&](int64_t begin, int64_t end, BlockClass, int32_t) {
                    std::iota(at, at + (end - begin), static_cast<T>(begin - kv_begin));
                    at += end - begin;
                  });
                });
  }

  template <typename T>
  void FillClasses(T* out) const {
    if (in_.is_dkv) {
      ForEachTile(in_, progress_, [&](const Tile& tile) {
        std::vector<T*> at = StartColumns(tile, out);
        for (int64_t row = 0; row < tile.rows; ++row) {
          ForEachBlock(in_, tile, row, [&](int64_t column, BlockClass block_class, int32_t) {
            T* entry = in_.active_only ? at[column]++ : at[column] + row;
            *entry = static_cast<T>(block_class);
          });
        }
      });
      return;
    }
    ForEachLine(
        in_, progress_, [&](int64_t line, int64_t kv_begin, int64_t kv_end, RowReader& reader) {
          T* const line_out = out + Begin(line);
          if (!in_.active_only) std::fill_n(line_out, in_.line_blocks(), T{0});
          T* at = line_out;
          reader.ReadTo(kv_end, [&](int64_t begin, int64_t end, BlockClass block_class, int32_t) {
            if (!in_.active_only) at = line_out + (begin - kv_begin);
            at = std::fill_n(at, end - begin, static_cast<T>(block_class));
          });
        });
  }

  // Where the columns of a tile begin. Their entries for blocks that are not visible become 0.
  template <typename T>
  std::vector<T*> StartColumns(const Tile& tile, T* out) const {
    std::vector<T*> begin;
    for (int64_t line = tile.first_line; line < tile.first_line + tile.columns(); ++line) {
      begin.push_back(out + Begin(line));
      if (!in_.active_only || IsDummy(line)) std::fill_n(begin.back(), Entries(line), T{0});
    }
    return begin;
  }

  template <typename T>
  void FillMaskNext(T* out) const {
    if (in_.is_dkv) {
      ForEachTile(in_, progress_, [&](const Tile& tile) { FillMaskNext(tile, out); });
      return;
    }
    ForEachLine(in_, progress_,
                [&](int64_t line, int64_t kv_begin, int64_t kv_end, RowReader& reader) {
                  T* const line_out = out + Begin(line);
                  // Whatever comes before a partial block names it; `at` is what has no name yet,
                  // `read` what comes after the blocks read so far.
                  T *at = line_out, *read = line_out;
                  reader.ReadTo(kv_end, [&](int64_t begin, int64_t end, BlockClass, int32_t id) {
                    T* const run = in_.active_only ? read : line_out + (begin - kv_begin);
                    read = run + (end - begin);
                    if (id == kNone) return;
                    std::fill(at, read, static_cast<T>(id));
                    at = read;
                  });
                  std::fill(at, line_out + Entries(line), static_cast<T>(carry_[line]));
                });
  }

  // Walks up the rows, keeping what comes next in each column.
  template <typename T>
  void FillMaskNext(const Tile& tile, T* out) const {
    std::vector<T> next;
    std::vector<T*> after;  // One past the lowest entry that is filled.
    for (int64_t line = tile.first_line; line < tile.first_line + tile.columns(); ++line) {
      next.push_back(static_cast<T>(carry_[line]));
      after.push_back(out + Begin(line) + Entries(line));
      if (IsDummy(line)) *--after.back() = next.back();
    }
    for (int64_t row = tile.rows - 1; row >= 0; --row) {
      ForEachBlock(in_, tile, row, [&](int64_t column, BlockClass, int32_t id) {
        if (id != kNone) next[column] = static_cast<T>(id);
        if (in_.active_only) *--after[column] = next[column];
      });
      if (in_.active_only) continue;
      for (int64_t column = 0; column < tile.columns(); ++column) {
        *--after[column] = next[column];
      }
    }
  }

  const ActiveListInputs& in_;
  const Progress& progress_;
  std::vector<int32_t> visible_;     // Visible blocks of each line.
  std::vector<int32_t> carry_;       // Of each line, the partial block that comes after it.
  std::vector<int64_t> line_begin_;  // Counted from the start of the shard.
  std::vector<int64_t> shard_entries_;
  int64_t longest_ = 0;
};

}  // namespace

ActiveLists BuildActiveLists(const ActiveListInputs& in, const Progress& progress) {
  return Builder(in, progress).Build();
}

}  // namespace splashmask
