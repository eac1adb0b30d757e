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
  std::span<const int32_t> q;   ///< [q_len]
  std::span<const int32_t> kv;  ///< [kv_len]
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
