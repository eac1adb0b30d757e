// SPDX-License-Identifier: Apache-2.0
#pragma once
// The backward pass in fast mode. Private to kernels/.

#include <optional>
#include <span>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fast/column_visits.h"
#include "splashmask/kernels/fast/row_visits.h"

namespace splashmask::fast {

class BackwardPass {
 public:
  /// Borrows `plan`, which has the pass dkv, and dq unless use_fused_bwd_kernel.
  explicit BackwardPass(const Plan& plan);

  /// The arguments fit the plan and each other. `soft_cap` 0: none.
  void Run(const AttentionInputs& inputs, const ForwardResult& forward, const ConstTensor& d_out,
           float soft_cap, const AttentionGradients& gradients, int threads,
           const Progress& progress) const;

 private:
  struct Call;
  void RunDqPass(const Call& call, const Progress& progress) const;
  void RunDkvPass(const Call& call, const Progress& progress) const;

  std::optional<RowVisits> rows_;  // Without them dq comes from what is computed for dk and dv.
  ColumnVisits columns_;
};

}  // namespace splashmask::fast
