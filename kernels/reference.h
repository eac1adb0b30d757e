// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention in double, pair by pair: what every other way to compute it is held to. Never
// optimised.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "splashmask/kernels/attention_inputs.h"

namespace splashmask {

/// Whether head `head` sees `kv` from `q`, segment ids aside.
using VisiblePair = std::function<bool(int64_t head, int64_t q, int64_t kv)>;

struct ReferenceOptions {
  /// Logits become cap * tanh(logits / cap).
  std::optional<double> attn_logits_soft_cap = {};
  /// The logits of pairs that are not visible. nullopt: such pairs do not exist, and a row without
  /// any gives output 0, logsumexp -inf (with sinks, the sink) and no gradient. JAX's
  /// attention_reference has a large negative number here, and means v over such a row.
  std::optional<double> mask_value = {};
};

/// C-contiguous, batch outermost.
struct ReferenceOutput {
  std::vector<double> out;        ///< [batch, heads, q_len, head_dim_v]
  std::vector<double> logsumexp;  ///< [batch, heads, q_len]
};

/// Softmax(q k^T) v.
ReferenceOutput ReferenceForward(const AttentionInputs& inputs, const VisiblePair& visible,
                                 const ReferenceOptions& options = {});

/// How the backward pass gets sum(p * dp) of a row: from out and do, or from p and dp. The same in
/// exact arithmetic.
enum class BackwardForm : uint8_t { kFlash, kVanilla };

struct ReferenceGradients {
  std::vector<double> dq;     ///< [batch, heads, q_len, head_dim]
  std::vector<double> dk;     ///< [batch, kv_heads, kv_len, head_dim]
  std::vector<double> dv;     ///< [batch, kv_heads, kv_len, head_dim_v]
  std::vector<double> sinks;  ///< [heads], summed over the batch; empty without sinks.
};

/// The gradients of sum(out * do). `d_out` is [batch, heads, q_len, head_dim_v].
ReferenceGradients ReferenceBackward(const AttentionInputs& inputs, const VisiblePair& visible,
                                     const ReferenceOutput& forward, const ConstTensor& d_out,
                                     BackwardForm form = BackwardForm::kFlash,
                                     const ReferenceOptions& options = {});

}  // namespace splashmask
