// SPDX-License-Identifier: Apache-2.0
#pragma once
// JAX's kernel in float32, step by step of its grid, NaN and rows that see nothing included.
// Private to kernels/.

#include <optional>
#include <span>

#include "splashmask/kernels/attention.h"

namespace splashmask::trace {

/// The arguments fit the plan and each other.
void Forward(const Plan& plan, const AttentionInputs& inputs, const AttentionOptions& options,
             const Tensor& out, std::span<float> logsumexp, const Progress& progress);
void Backward(const Plan& plan, const AttentionInputs& inputs, const ForwardResult& forward,
              const ConstTensor& d_out, const AttentionOptions& options,
              const AttentionGradients& gradients, const Progress& progress);

}  // namespace splashmask::trace
