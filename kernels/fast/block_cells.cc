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

constexpr uint64_t LowBits(int64_t count) {
  return count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Turns rows of cells, with zeros beyond `count`, unless they are all alike.
Drawn TurnUnlessAlike(BitRows cells, int64_t rows, int64_t count, uint64_t* lanes) {
  const int64_t words = WordsFor(count);
  uint64_t any = 0, missing = 0;
  for (int64_t w = 0; w < words; ++w) {
    const uint64_t every = LowBits(std::min<int64_t>(64, count - 64 * w));
    for (int64_t r = 0; r < rows; ++r) {
      const uint64_t word = cells.row(r)[w];
      any |= word;
      missing |= word ^ every;
    }
  }
  if (any == 0) return Drawn::kNone;
  if (missing == 0) return Drawn::kAll;
  TransposeBits(cells, rows, count, {lanes, 1});
  return Drawn::kSome;
}

}  // namespace

Drawn StoredCells::Draw(int64_t block, int64_t first_row, int64_t rows, int64_t kv_begin,
                        int64_t count, uint64_t* lanes) const {
  Cells cells;
  const BitRows drawn{cells.data(), WordsFor(count)};
  const int64_t last_word = WordsFor(count) - 1;
  for (int64_t r = 0; r < rows; ++r) {
    const std::byte* bits =
        blocks_->block(block) + (first_row + r) * blocks_->row_bytes() + kv_begin / 8;
    drawn.row(r)[last_word] = 0;
    std::memcpy(drawn.row(r), bits, static_cast<size_t>((count + 7) / 8));
    drawn.row(r)[last_word] &= LowBits(count - 64 * last_word);
  }
  return TurnUnlessAlike(drawn, rows, count, lanes);
}

Drawn TransposedCells::Draw(int64_t block, int64_t first_row, int64_t rows, int64_t kv_begin,
                            int64_t count, uint64_t* lanes) const {
  const uint64_t every = LowBits(rows);
  const int64_t bytes = std::min<int64_t>(8, blocks_->row_bytes() - first_row / 8);
  uint64_t any = 0, missing = 0;
  for (int64_t c = 0; c < count; ++c) {
    const std::byte* bits =
        blocks_->block(block) + (kv_begin + c) * blocks_->row_bytes() + first_row / 8;
    uint64_t word = 0;
    std::memcpy(&word, bits, static_cast<size_t>(bytes));
    lanes[c] = word & every;
    any |= lanes[c];
    missing |= lanes[c] ^ every;
  }
  if (any == 0) return Drawn::kNone;
  return missing == 0 ? Drawn::kAll : Drawn::kSome;
}

Drawn ComputedCells::Draw(int64_t /*block*/, int64_t first_row, int64_t rows, int64_t kv_begin,
                          int64_t count, uint64_t* lanes) const {
  Cells cells;
  const BitRows drawn{cells.data(), WordsFor(count)};
  std::array<int64_t, kMostRows> positions;
  std::iota(positions.begin(), positions.begin() + rows, first_row);
  mask_->Draw({positions.data(), static_cast<size_t>(rows)}, {kv_begin, kv_begin + count}, drawn);
  return TurnUnlessAlike(drawn, rows, count, lanes);
}

}  // namespace splashmask::fast
