// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/block_cells.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace splashmask::fast {

namespace {

// Rows of a panel, and words of a tile: no task asks for more at once.
constexpr int64_t kMostRows = 64, kWords = 2;
using Cells = std::array<uint64_t, kMostRows * kWords>;

}  // namespace

void StoredCells::Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
                       uint64_t* lanes) const {
  Cells cells;
  const BitRows drawn{cells.data(), WordsFor(count)};
  const int64_t column = kv_begin - kv_begin_;  // A multiple of 8.
  for (int64_t r = 0; r < rows; ++r) {
    const std::byte* bits =
        blocks_->block(id_) + (first_row_ + first_row + r) * blocks_->row_bytes() + column / 8;
    drawn.row(r)[WordsFor(count) - 1] = 0;
    std::memcpy(drawn.row(r), bits, static_cast<size_t>((count + 7) / 8));
  }
  TransposeBits(drawn, rows, count, {lanes, 1});
}

void ComputedCells::Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
                         uint64_t* lanes) const {
  Cells cells;
  const BitRows drawn{cells.data(), WordsFor(count)};
  std::array<int64_t, kMostRows> positions;
  std::iota(positions.begin(), positions.begin() + rows, first_row_ + first_row);
  mask_->Draw({positions.data(), static_cast<size_t>(rows)}, {kv_begin, kv_begin + count}, drawn);
  TransposeBits(drawn, rows, count, {lanes, 1});
}

}  // namespace splashmask::fast
