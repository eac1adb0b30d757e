// SPDX-License-Identifier: Apache-2.0
#pragma once
// One mask a head.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "splashmask/masks/mask.h"

namespace splashmask {

/// A non-empty list of masks of one shape, one for each head: [num_heads, q_len, kv_len].
class MultiHeadMask {
 public:
  /// Throws kInvalidArgument when the list is empty or the shapes differ.
  explicit MultiHeadMask(std::vector<Mask> masks);
  /// The same mask for every head. Throws kInvalidArgument when num_heads < 1 or above 2^20.
  MultiHeadMask(const Mask& mask, int64_t num_heads);

  const std::vector<Mask>& masks() const { return masks_; }
  int64_t num_heads() const { return static_cast<int64_t>(masks_.size()); }
  Shape shape() const { return masks_.front().shape(); }

  friend bool operator==(const MultiHeadMask& a, const MultiHeadMask& b);
  size_t Hash() const;

 private:
  std::vector<Mask> masks_;
};

/// Most heads a mask may have.
inline constexpr int64_t kMaxHeads = int64_t{1} << 20;

}  // namespace splashmask
