// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the attention of a model computes and reads under a mask, in the units of ggml's cost
// listings.

#include <cstdint>

namespace splashmask {

/// The attention of one layer.
struct AttentionShape {
  int64_t heads = 1;     ///< Of q.
  int64_t kv_heads = 1;  ///< Divides heads.
  int64_t head_dim = 0;  ///< Of q and k.
  int64_t head_dim_v = 0;
  int64_t key_value_bytes = 0;  ///< One position of one kv head: its key and its value.
};

/// Work of any kind; sums of it are work, too.
struct Work {
  int64_t fmul = 0;  ///< Multiplications. The additions of matrix products are not counted.
  int64_t fadd = 0;
  int64_t fexp = 0;
  int64_t read = 0;  ///< Bytes.

  /// Throws kTooLarge beyond 64 bits.
  friend Work operator+(const Work& a, const Work& b);
  friend Work operator*(const Work& a, int64_t times);
  friend bool operator==(const Work&, const Work&) = default;
};

/// Of `pairs` of a q head and kv positions that it sees, over all q heads: head_dim products for
/// the logit and head_dim_v for the output, and, as ggml counts a softmax, three multiplications,
/// three additions and one exponential. `keys` positions are read, over all kv heads, once each.
/// Throws kTooLarge beyond 64 bits.
Work AttentionWork(const AttentionShape& shape, int64_t pairs, int64_t keys);

}  // namespace splashmask
