// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/table_memory.h"

#include <fmt/format.h>

#include <algorithm>

#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

constexpr int64_t kSamples = 16;

// Rows [q0, q1) by columns [kv0, kv1) of blocks.
struct Rect {
  int64_t q0, q1, kv0, kv1;
};

// Counts visible blocks by halving rectangles, until `budget` of them have been classified; what is
// then still mixed or unknown counts as little as it can.
int64_t VisibleAtLeast(const Analysis& analysis, BlockShape block, Rect rect, int64_t& budget) {
  const int64_t rows = rect.q1 - rect.q0, columns = rect.kv1 - rect.kv0;
  const RectClass found = analysis.Classify({rect.q0 * block.q, rows * block.q, 1},
                                            {rect.kv0 * block.kv, rect.kv1 * block.kv});
  if (found == RectClass::kEmpty) return 0;
  if (found == RectClass::kFull) return rows * columns;
  const int64_t least = found == RectClass::kPartial ? 1 : 0;
  if (--budget <= 0 || rows * columns == 1) return least;
  Rect low = rect, high = rect;
  if (rows > 1) {
    low.q1 = high.q0 = rect.q0 + rows / 2;
  } else {
    low.kv1 = high.kv0 = rect.kv0 + columns / 2;
  }
  const int64_t visible =
      VisibleAtLeast(analysis, block, low, budget) + VisibleAtLeast(analysis, block, high, budget);
  return std::max(least, visible);
}

// The most that `rect(i)` is known to see, over samples from the first to the last of `count`.
template <typename RectOf>
int64_t FullestSample(const Analysis& analysis, BlockShape block, int64_t count,
                      const RectOf& rect) {
  int64_t fullest = 0;
  for (int64_t sample = 0; sample < std::min(count, kSamples); ++sample) {
    const int64_t i = sample == 0 ? count - 1 : (sample - 1) * (count / kSamples);
    int64_t budget = 4096;
    fullest = std::max(fullest, VisibleAtLeast(analysis, block, rect(i), budget));
  }
  return fullest;
}

}  // namespace

ByteCount TableSizes::bytes() const {
  return static_cast<ByteCount>(heads) * static_cast<ByteCount>(rows) *
         static_cast<ByteCount>(columns) * static_cast<ByteCount>(entry_bytes);
}

void CheckTableMemory(const TableSizes& sizes, std::string_view op) {
  if (FitsInMemory(sizes.bytes())) return;
  throw Error(ErrorCode::kTooLarge,
              fmt::format("[{}] expected the tables to fit in memory ({} bytes are left), "
                          "but {} x {} x {} entries take at least {} bytes: use larger blocks",
                          op, AvailableMemory(), sizes.heads, sizes.rows, sizes.columns,
                          fmt::to_string(sizes.bytes())));
}

void CheckShrunkTableMemory(const Analysis& analysis, BlockShape block, bool shrinks_rows,
                            const TableSizes& sizes) {
  if (FitsInMemory(sizes.bytes())) return;
  TableSizes least = sizes;
  if (shrinks_rows) {
    least.rows = FullestSample(analysis, block, sizes.columns, [&](int64_t column) {
      return Rect{0, sizes.rows, column, column + 1};
    });
  } else {
    least.columns = FullestSample(analysis, block, sizes.rows, [&](int64_t row) {
      return Rect{row, row + 1, 0, sizes.columns};
    });
  }
  CheckTableMemory(least);
}

}  // namespace splashmask
