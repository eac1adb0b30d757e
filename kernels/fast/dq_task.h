// SPDX-License-Identifier: Apache-2.0
#pragma once
// The backward pass: dq of some rows of one q block. Private to kernels/.

#include <cstdint>

#include "splashmask/kernels/fast/gradient_rows.h"
#include "splashmask/kernels/fast/task.h"
#include "splashmask/kernels/fast/tile_walk.h"

namespace splashmask::fast {

struct DqTask {
  GradientRows rows;
  int64_t dim = 0, dim_v = 0;
  Rows k, v;
  VisitQueue visits;
  float soft_cap = 0;  ///< 0: none.
  OutputRows dq;
};

/// Floats of scratch memory that a task of at most `rows` rows needs.
int64_t DqScratch(int64_t rows, int64_t dim, int64_t dim_v);

/// Values that a pair does not see never reach its gradients, NaN and infinities included.
/// Allocates nothing; `scratch` is aligned to 64 bytes.
void RunDq(const DqTask& task, float* scratch);

}  // namespace splashmask::fast
