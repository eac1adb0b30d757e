// SPDX-License-Identifier: Apache-2.0
#pragma once
// The backward pass in fast mode. Private to kernels/.

#include <span>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fast/column_visits.h"
#include "splashmask/kernels/fast/row_visits.h"

namespace splashmask::fast {

class BackwardPass {
 public:
  /// Borrows `plan`, which has the passes dq and dkv.
  explicit BackwardPass(const Plan& plan) : rows_(plan, *plan.dq), columns_(plan) {}

  /// The arguments fit the plan and each other. `soft_cap` 0: none.
  void Run(const AttentionInputs& inputs, const ForwardResult& forward, const ConstTensor& d_out,
           float soft_cap, const AttentionGradients& gradients, int threads,
           const Progress& progress) const;

 private:
  RowVisits rows_;
  ColumnVisits columns_;
};

}  // namespace splashmask::fast
