// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cells of a mask, as bools.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "splashmask/masks/mask.h"

namespace splashmask {

class Analysis;

/// Reads rectangles of cells. Immutable and safe to use from many threads.
class MaskCells {
 public:
  /// Prepares a mask: O(S) time and memory in the lengths of its arrays, dense ones excepted.
  explicit MaskCells(const Mask& mask);
  ~MaskCells();

  /// Writes bool[q_end - q_begin, kv_end - kv_begin], one byte a cell (0 or 1), C-contiguous.
  /// Throws kInvalidArgument unless 0 <= begin <= end <= length on both axes.
  void Read(int64_t q_begin, int64_t q_end, int64_t kv_begin, int64_t kv_end, std::byte* out) const;

 private:
  std::unique_ptr<const Analysis> analysis_;
};

}  // namespace splashmask
