// SPDX-License-Identifier: Apache-2.0
#pragma once
// The forward pass over some rows of q heads that share a kv head. Private to kernels/.

#include <cstdint>
#include <span>

#include "splashmask/kernels/fast/task.h"
#include "splashmask/kernels/fast/tile_walk.h"

namespace splashmask::fast {

/// The same q positions of one head or several, which see the same.
struct ForwardRows {
  int64_t heads = 1, rows = 0;
  Rows q;          ///< From the first row of the first head on.
  OutputRows out;  ///< Likewise.
  int64_t q_head = 0, out_head = 0, logsumexp_head = 0;  ///< Elements to the next head.
  float* logsumexp = nullptr;                            ///< [heads][rows], or none.
  const float* sinks = nullptr;                          ///< [heads], or none.
  VisitQueue visits;
  MaskOfTask mask;
};

struct ForwardTask {
  int64_t dim = 0, dim_v = 0;
  Rows k, v;
  float soft_cap = 0;             ///< 0: none.
  std::span<ForwardRows> groups;  ///< Their visits are taken.
};

/// Floats of scratch memory that a task needs.
int64_t ForwardScratch(const ForwardTask& task);

/// Computes out and logsumexp. A row that sees nothing gets 0 and -inf (with a sink, the sink).
/// Values that a row does not see never reach it, NaN and infinities included. Allocates nothing;
/// `scratch` is aligned to 64 bytes.
void RunForward(const ForwardTask& task, float* scratch);

/// The name of the SIMD target that RunForward runs on here, as Highway names it.
const char* TargetName();

}  // namespace splashmask::fast
