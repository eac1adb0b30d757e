// SPDX-License-Identifier: Apache-2.0
#pragma once
// The backward pass: dq of some rows of one q block, dk and dv of some positions of one kv block.
// Private to kernels/.

#include <cstdint>
#include <span>

#include "splashmask/kernels/fast/task.h"

namespace splashmask::fast {

/// Some rows of one q head, and what the forward pass left of them.
struct QRows {
  int64_t count = 0;
  Rows q, d_out;
  const float* logsumexp = nullptr;  ///< [count]; -inf: the row sees nothing.
  const float* di = nullptr;         ///< [count]: the sum of out * d_out over the head's dimension.
  MaskOfTask mask;
};

struct DqTask {
  QRows rows;
  int64_t dim = 0, dim_v = 0;
  Rows k, v;
  std::span<const Visit> visits;
  float soft_cap = 0;  ///< 0: none.
  OutputRows dq;
};

/// Rows that see something of a dkv task's positions, as `visit` says.
struct QVisit {
  QRows rows;
  Visit visit;
};

struct DkvTask {
  int64_t kv_begin = 0, kv_count = 0;  ///< Every visit has this range.
  int64_t dim = 0, dim_v = 0;
  Rows k, v;  ///< Of one kv head, from position 0 on.
  std::span<const QVisit> visits;
  float soft_cap = 0;
  OutputRows dk, dv;  ///< From position 0 on.
};

/// Floats of scratch memory that a task of at most so many rows or positions needs.
int64_t DqScratch(int64_t rows, int64_t dim, int64_t dim_v);
int64_t DkvScratch(int64_t kv_count, int64_t dim, int64_t dim_v);

/// Values that a pair does not see never reach its gradients, NaN and infinities included. Allocate
/// nothing; `scratch` is aligned to 64 bytes.
void RunDq(const DqTask& task, float* scratch);
void RunDkv(const DkvTask& task, float* scratch);

}  // namespace splashmask::fast
