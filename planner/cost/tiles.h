// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tiles of a TPU's memories: 128 lanes by 8 sublanes of 32-bit words. Private to cost.

#include <cstdint>

namespace splashmask {

inline constexpr int64_t kLanes = 128, kSublanes = 8, kWordBytes = 4;

inline int64_t RoundedUp(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

/// Of an array whose columns lie in lanes. Narrow elements share a sublane's words.
inline int64_t BytesInTiles(int64_t rows, int64_t columns, int64_t element_bytes) {
  return RoundedUp(rows, kSublanes * kWordBytes / element_bytes) * RoundedUp(columns, kLanes) *
         element_bytes;
}

}  // namespace splashmask
