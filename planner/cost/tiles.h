// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiles of a TPU's memories: 128 lanes by 8 sublanes of 32-bit words, and sizes that are whole
// numbers of them. Private to cost.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace splashmask {

inline constexpr int64_t kLanes = 128, kSublanes = 8, kWordBytes = 4;

inline int64_t RoundedUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Multiples of `unit` from `least` to `most` that divide `whole`.
inline std::vector<int64_t> MultiplesThatDivide(int64_t whole, int64_t unit, int64_t least,
                                                int64_t most) {
  std::vector<int64_t> sizes;
  for (int64_t size = RoundedUp(least, unit); size <= std::min(most, whole); size += unit) {
    if (whole % size == 0) sizes.push_back(size);
  }
  return sizes;
}

/// Of an array whose columns lie in lanes. Narrow elements share a sublane's words.
inline int64_t BytesInTiles(int64_t rows, int64_t columns, int64_t element_bytes) {
  return RoundedUp(rows, kSublanes * kWordBytes / element_bytes) * RoundedUp(columns, kLanes) *
         element_bytes;
}

}  // namespace splashmask
