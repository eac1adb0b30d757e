// SPDX-License-Identifier: Apache-2.0
#pragma once
// Splash attention on this machine's processors, driven by a plan's tables.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/kernels/tensor.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

struct AttentionOptions {
  /// Logits become cap * tanh(logits / cap). Positive.
  std::optional<float> attn_logits_soft_cap = {};
  int threads = 0;  ///< 0: as many as the machine has.
};

/// Attention over one plan. It obeys the plan's tables: a block of class 0 is not looked at, one of
/// class 2 is seen whole, and one of class 1 through its partial block, or through the mask
/// function where the plan has one. Made once, used for any number of calls, from any number of
/// threads.
class SplashAttention {
 public:
  /// Throws kInvalidArgument when `plan` has no fwd pass, or `options` make no sense.
  explicit SplashAttention(Plan plan, const AttentionOptions& options = {});
  ~SplashAttention();
  SplashAttention(SplashAttention&&) noexcept;
  SplashAttention& operator=(SplashAttention&&) noexcept;

  const Plan& plan() const;

  /// out = softmax(q k^T) v, with float32 sums; q is not scaled. A row that sees nothing gets
  /// output 0 and logsumexp -inf (with sinks, output 0 and the sink). NaN and infinities in k and v
  /// reach the rows that see them, and no other.
  ///
  ///   out        [batch, heads, q_len, head_dim_v]; may be of another type than q. Must not
  ///              overlap an input.
  ///   logsumexp  float32[batch, heads, q_len], C-contiguous, or empty.
  ///
  /// The result does not depend on the number of threads, nor on the run.
  /// Throws kInvalidArgument for shapes that do not fit the plan or each other, kCancelled.
  void Forward(const AttentionInputs& inputs, const Tensor& out, std::span<float> logsumexp = {},
               const Progress& progress = {}) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace splashmask
