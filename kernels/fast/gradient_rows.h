// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the backward tasks know of q rows. Private to kernels/.

#include <cstdint>

#include "splashmask/kernels/fast/task.h"

namespace splashmask::fast {

/// Some rows of one q head, and what the forward pass left of them.
struct GradientRows {
  int64_t count = 0;
  Rows q, d_out;
  const float* logsumexp = nullptr;  ///< [count]; -inf: the row sees nothing.
  const float* di = nullptr;         ///< [count]: the sum of out * d_out over the head's dimension.
  MaskOfTask mask;
};

}  // namespace splashmask::fast
