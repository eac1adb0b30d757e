// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/block_cells.h"

#include <array>
#include <cstring>

namespace splashmask::fast {

void StoredCells::Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
                       BitRows out) const {
  const int64_t column = kv_begin - kv_begin_;  // A multiple of 64.
  for (int64_t r = 0; r < rows; ++r) {
    const std::byte* bits =
        blocks_->block(id_) + (first_row_ + first_row + r) * blocks_->row_bytes() + column / 8;
    uint64_t* const words = out.row(r);
    words[WordsFor(count) - 1] = 0;
    std::memcpy(words, bits, static_cast<size_t>((count + 7) / 8));
    if (count % 64 != 0) words[count / 64] &= (uint64_t{1} << count % 64) - 1;
  }
}

void ComputedCells::Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
                         BitRows out) const {
  std::array<int64_t, 64> positions;  // A panel has no more rows.
  std::iota(positions.begin(), positions.begin() + rows, first_row_ + first_row);
  mask_->Draw({positions.data(), static_cast<size_t>(rows)}, {kv_begin, kv_begin + count}, out);
}

}  // namespace splashmask::fast
