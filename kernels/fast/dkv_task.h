// SPDX-License-Identifier: Apache-2.0
#pragma once
// The backward pass: dk and dv of some positions of one kv block, and what they add to dq. Private
// to kernels/.

#include <atomic>
#include <cstdint>
#include <span>

#include "splashmask/kernels/fast/gradient_rows.h"
#include "splashmask/kernels/fast/task.h"

namespace splashmask::fast {

/// Sums of dq in float32, [rows][dim], in the order that panels have: rows [first, first + count)
/// of a panel lie there as [dim][count]. Visits of the same rows add to them one after the other,
/// by number, so that no sum depends on threads.
struct DqSums {
  float* sums = nullptr;  ///< From the visit's first row on; null: nobody asks for dq.
  std::atomic<int32_t>* turn = nullptr;  ///< The number of the visit that may add.
  int32_t number = 0;                    ///< The visit's own; the first one, 0, overwrites.
};

/// Rows that see something of a task's positions, as `visit` says.
struct QVisit {
  GradientRows rows;
  Visit visit;
  DqSums dq;
};

struct DkvTask {
  int64_t kv_begin = 0, kv_count = 0;  ///< Every visit has this range.
  int64_t dim = 0, dim_v = 0;
  Rows k, v;  ///< Of one kv head, from position 0 on.
  std::span<const QVisit> visits;
  float soft_cap = 0;
  OutputRows dk, dv;  ///< From position 0 on.
  /// Set when another task failed: then no turn is waited for, and the result is no result.
  const std::atomic<bool>* is_abandoned = nullptr;
};

/// Floats of scratch memory that a task of at most `kv_count` positions needs.
int64_t DkvScratch(int64_t kv_count, int64_t dim, int64_t dim_v);

/// Values that a pair does not see never reach its gradients, NaN and infinities included.
/// Allocates nothing; `scratch` is aligned to 64 bytes.
void RunDkv(const DkvTask& task, float* scratch);

/// Writes `rows` rows of a q block whose sums are complete, or 0 without any (null). They may lie
/// where dq does.
void WriteDq(const float* sums, int64_t rows, int64_t dim, const OutputRows& dq, float* scratch);
int64_t WriteDqScratch(int64_t dim);

}  // namespace splashmask::fast
