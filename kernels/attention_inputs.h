// SPDX-License-Identifier: Apache-2.0
#pragma once
// What attention is computed from, beside the plan.

#include <cstdint>
#include <optional>
#include <span>

#include "splashmask/kernels/tensor.h"

namespace splashmask {

/// Tokens attend where the ids of both sides are equal, and the mask says so.
struct AttentionSegmentIds {
  std::span<const int32_t> q;   ///< [q_len] for every sequence, or [batch, q_len]
  std::span<const int32_t> kv;  ///< [kv_len] for every sequence, or [batch, kv_len]

  /// Those of one sequence: [q_len] and [kv_len].
  const int32_t* OfQ(int64_t batch, int64_t q_len) const { return Of(q, batch, q_len); }
  const int32_t* OfKv(int64_t batch, int64_t kv_len) const { return Of(kv, batch, kv_len); }

 private:
  static const int32_t* Of(std::span<const int32_t> ids, int64_t batch, int64_t length) {
    return ids.data() + (std::ssize(ids) == length ? 0 : batch * length);
  }
};

/// Borrowed from the caller. q is not scaled here: the caller scales, as in JAX.
struct AttentionInputs {
  ConstTensor q;  ///< [batch, heads, q_len, head_dim]
  ConstTensor k;  ///< [batch, kv_heads, kv_len, head_dim]; q head h sees h / (heads / kv_heads).
  ConstTensor v;  ///< [batch, kv_heads, kv_len, head_dim_v]
  std::optional<AttentionSegmentIds> segment_ids;
  std::span<const float> sinks;  ///< [heads], or empty.
};

}  // namespace splashmask
