// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/attention.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "splashmask/kernels/check_inputs.h"
#include "splashmask/kernels/check_tables.h"
#include "splashmask/kernels/fast/backward_pass.h"
#include "splashmask/kernels/fast/forward_pass.h"
#include "splashmask/kernels/simd_choice.h"
#include "splashmask/kernels/trace/kernel.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

void CheckOptions(const Plan& plan, const AttentionOptions& options) {
  // Of a cap below the normal floats the inverse is infinite.
  if (const auto cap = options.attn_logits_soft_cap; cap && !(std::isnormal(*cap) && *cap > 0)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[attention] expected a positive attn_logits_soft_cap, got {}",
                            *options.attn_logits_soft_cap));
  }
  if (!options.compat_jax) return;
  const auto check = [](const char* name, int64_t compute,
                        const std::optional<CompiledPass>& pass) {
    if (compute == 0 || (compute > 0 && pass && pass->block.kv % compute == 0)) return;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[attention] expected {} ({}) to divide block_kv ({})", name, compute,
                            pass ? pass->block.kv : 0));
  };
  check("block_kv_compute", options.compat_jax->block_kv_compute, plan.fwd);
  check("block_kv_dkv_compute", options.compat_jax->block_kv_dkv_compute, plan.dkv);
}

}  // namespace

bool HasBackward(const Plan& plan) {
  return plan.dkv && (plan.dq || plan.options.use_fused_bwd_kernel);
}

struct SplashAttention::Impl {
  Plan plan;
  AttentionOptions options;
  std::optional<fast::ForwardPass> forward;
  std::optional<fast::BackwardPass> backward;

  Impl(Plan the_plan, const AttentionOptions& the_options)
      : plan(std::move(the_plan)), options(the_options) {
    if (options.compat_jax) return;  // It walks the tables as they are.
    if (plan.fwd) forward.emplace(plan);
    if (HasBackward(plan)) backward.emplace(plan);
  }
};

SplashAttention::SplashAttention(Plan plan, const AttentionOptions& options) {
  ChooseSimdTarget();
  if (!plan.fwd && !HasBackward(plan)) {
    throw Error(ErrorCode::kInvalidArgument,
                "[attention] expected a plan with the pass fwd, or those of the backward pass");
  }
  CheckOptions(plan, options);
  for (Pass pass : kAllPasses) {
    if (plan.pass(pass)) CheckTables(plan, pass);
  }
  impl_ = std::make_unique<const Impl>(std::move(plan), options);
}

SplashAttention::~SplashAttention() = default;
SplashAttention::SplashAttention(SplashAttention&&) noexcept = default;
SplashAttention& SplashAttention::operator=(SplashAttention&&) noexcept = default;

const Plan& SplashAttention::plan() const { return impl_->plan; }

void SplashAttention::Forward(const AttentionInputs& inputs, const Tensor& out,
                              std::span<float> logsumexp, const Progress& progress) const {
  if (!impl_->plan.fwd) {
    throw Error(ErrorCode::kInvalidArgument, "[attention] expected a plan with the pass fwd");
  }
  CheckForward(impl_->plan, inputs, out, logsumexp);
  if (impl_->options.compat_jax) {
    trace::Forward(impl_->plan, inputs, impl_->options, out, logsumexp, progress);
    return;
  }
  impl_->forward->Run(inputs, impl_->options.attn_logits_soft_cap.value_or(0), out, logsumexp,
                      impl_->options.threads, progress);
}

void SplashAttention::Backward(const AttentionInputs& inputs, const ForwardResult& forward,
                               const ConstTensor& d_out, const AttentionGradients& gradients,
                               const Progress& progress) const {
  const Plan& plan = impl_->plan;
  if (!HasBackward(plan)) {
    throw Error(ErrorCode::kInvalidArgument,
                "[attention] expected a plan with the passes dq and dkv");
  }
  CheckBackward(plan, inputs, forward, d_out, gradients);
  if (impl_->options.compat_jax) {
    trace::Backward(plan, inputs, forward, d_out, impl_->options, gradients, progress);
    return;
  }
  impl_->backward->Run(inputs, forward, d_out, impl_->options.attn_logits_soft_cap.value_or(0),
                       gradients, impl_->options.threads, progress);
}

}  // namespace splashmask
