// SPDX-License-Identifier: Apache-2.0
#pragma once
// The forward pass in fast mode. Private to kernels/.

#include <span>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/kernels/fast/row_visits.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask::fast {

class ForwardPass {
 public:
  /// Borrows `plan`, which has a fwd pass.
  explicit ForwardPass(const Plan& plan) : rows_(plan, *plan.fwd) {}

  /// The arguments fit the plan and each other. `soft_cap` 0: none.
  void Run(const AttentionInputs& inputs, float soft_cap, const Tensor& out,
           std::span<float> logsumexp, int threads, const Progress& progress) const;

 private:
  RowVisits rows_;
};

}  // namespace splashmask::fast
