// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether arrays fit a plan and each other. Private to kernels/.

#include <span>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// Throws kInvalidArgument, naming the array and what it should be.
void CheckForward(const Plan& plan, const AttentionInputs& inputs, const Tensor& out,
                  std::span<const float> logsumexp);
void CheckBackward(const Plan& plan, const AttentionInputs& inputs, const ForwardResult& forward,
                   const ConstTensor& d_out, const AttentionGradients& gradients);

}  // namespace splashmask
