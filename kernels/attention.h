// SPDX-License-Identifier: Apache-2.0
#pragma once
// Splash attention on this machine's processors, driven by a plan's tables.

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/kernels/tensor.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// How JAX's kernel is set up.
struct JaxKernel {
  /// Of pairs that are not visible: -0.7 times the largest float32.
  float mask_value = static_cast<float>(-0.7 * std::numeric_limits<float>::max());
  int64_t block_kv_compute = 0;      ///< Of fwd; 0: its block_kv.
  int64_t block_kv_dkv_compute = 0;  ///< 0: dkv's block_kv.
};

struct AttentionOptions {
  /// Logits become cap * tanh(logits / cap). Positive and finite.
  std::optional<float> attn_logits_soft_cap = {};
  int threads = 0;  ///< 0: as many as the machine has.
  /// Walk the grid as JAX's kernel does, in float32 and in its order, instead of computing fast. A
  /// row that sees nothing gets NaN when its whole block row is empty, else the mean of v over the
  /// blocks that are visited, with logsumexp near mask_value; a NaN in v reaches every row of its
  /// block. The fused backward rounds what each kv block adds to dq to q's type.
  std::optional<JaxKernel> compat_jax = {};
};

/// What Forward made of the same inputs.
struct ForwardResult {
  ConstTensor out;                   ///< [batch, heads, q_len, head_dim_v]
  std::span<const float> logsumexp;  ///< [batch, heads, q_len], C-contiguous.
};

/// Where Backward writes; none may overlap another, or an input.
struct AttentionGradients {
  Tensor dq;               ///< [batch, heads, q_len, head_dim]
  Tensor dk;               ///< [batch, kv_heads, kv_len, head_dim]
  Tensor dv;               ///< [batch, kv_heads, kv_len, head_dim_v]
  std::span<float> sinks;  ///< [heads], summed over the batch; empty without sinks.
};

/// Whether a plan has the passes that Backward needs.
bool HasBackward(const Plan& plan);

/// Attention over one plan. It obeys the plan's tables: a block of class 0 is not looked at, one of
/// class 2 is seen whole, and one of class 1 through its partial block, or through the mask
/// function where the plan has one. Made once, used for any number of calls, from any number of
/// threads.
class SplashAttention {
 public:
  /// Throws kInvalidArgument when `plan` has no pass, or `options` make no sense; kDamaged when
  /// its tables name blocks that are not there; kTooLarge for positions beyond int32. Also as
  /// SimdTarget() does.
  explicit SplashAttention(Plan plan, const AttentionOptions& options = {});
  ~SplashAttention();
  SplashAttention(SplashAttention&&) noexcept;
  SplashAttention& operator=(SplashAttention&&) noexcept;

  const Plan& plan() const;

  /// out = softmax(q k^T) v, with float32 sums; q is not scaled. A row that sees nothing gets
  /// output 0 and logsumexp -inf (with sinks, output 0 and the sink). NaN and infinities in k and v
  /// reach the rows that see them (with a weight that is not 0 in float32), and no other.
  ///
  ///   out        [batch, heads, q_len, head_dim_v]; may be of another type than q. Must not
  ///              overlap an input.
  ///   logsumexp  float32[batch, heads, q_len], C-contiguous, or empty.
  ///
  /// The result does not depend on the number of threads, nor on the run. Where q, k and v are all
  /// bfloat16 and the processor has AVX-512-BF16, weights are rounded to bfloat16 before they meet
  /// v, and numbers below 2^-126 are taken for 0.
  ///
  /// Throws kInvalidArgument for shapes that do not fit the plan or each other and for a plan
  /// without fwd, kCancelled.
  void Forward(const AttentionInputs& inputs, const Tensor& out, std::span<float> logsumexp = {},
               const Progress& progress = {}) const;

  /// The gradients of sum(out * d_out), from the plan's dq and dkv tables; after
  /// use_fused_bwd_kernel from those of dkv alone. Pairs that are not seen add nothing, whatever is
  /// there; a row that sees nothing has gradient 0.
  ///
  ///   d_out  [batch, heads, q_len, head_dim_v]
  ///
  /// Otherwise as Forward (where d_out is bfloat16, too, gradients of logits are rounded as weights
  /// are); throws kInvalidArgument also for a plan without dq or dkv.
  void Backward(const AttentionInputs& inputs, const ForwardResult& forward,
                const ConstTensor& d_out, const AttentionGradients& gradients,
                const Progress& progress = {}) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace splashmask
