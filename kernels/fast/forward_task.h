// SPDX-License-Identifier: Apache-2.0
#pragma once
// The forward pass of one q head over some rows of one q block. Private to kernels/.

#include <cstdint>
#include <span>

#include "splashmask/kernels/fast/task.h"

namespace splashmask::fast {

struct ForwardTask {
  int64_t rows = 0;  ///< q positions.
  int64_t dim = 0, dim_v = 0;
  Rows q, k, v;
  std::span<const Visit> visits;
  MaskOfTask mask;
  float soft_cap = 0;           ///< 0: none.
  const float* sink = nullptr;  ///< One number, or none.
  OutputRows out;
  float* logsumexp = nullptr;  ///< [rows], or none.
};

/// Floats of scratch memory that a task of at most `rows` rows needs.
int64_t ForwardScratch(int64_t rows, int64_t dim, int64_t dim_v);

/// Computes out and logsumexp. A row that sees nothing gets 0 and -inf (with a sink, the sink).
/// Values that a row does not see never reach it, NaN and infinities included. Allocates nothing;
/// `scratch` is aligned to 64 bytes.
void RunForward(const ForwardTask& task, float* scratch);

/// The name of the SIMD target that RunForward runs on here, as Highway names it.
const char* TargetName();

}  // namespace splashmask::fast
