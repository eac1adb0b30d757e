// SPDX-License-Identifier: Apache-2.0
#pragma once
// The forward pass of one q head over some rows of one q block: the unit of work of fast mode.
// Private to kernels/.

#include <cstddef>
#include <cstdint>
#include <span>

#include "splashmask/kernels/tensor.h"
#include "splashmask/masks/analysis/bits.h"

namespace splashmask::fast {

/// One head of a tensor: element (i, d) is data[i * row + d * dim].
template <typename Data>
struct BasicRows {
  Data* data = nullptr;
  FloatType type = FloatType::kFloat32;
  int64_t row = 0, dim = 1;
};
using Rows = BasicRows<const void>;
using OutputRows = BasicRows<void>;

/// The cells of a tile: bit c of row r is whether row r of the task sees kv_begin + c.
class TileCells {
 public:
  virtual ~TileCells() = default;
  /// Draws `count` columns of rows [first_row, first_row + rows) of the task.
  virtual void Draw(int64_t first_row, int64_t rows, int64_t kv_begin, int64_t count,
                    BitRows out) const = 0;
};

/// A range of kv positions that the rows visit. At most one of the two is set; neither: every row
/// sees all of it.
struct Visit {
  int64_t kv_begin = 0, kv_count = 0;
  /// The rows see bounds.lower[r] <= kv < bounds.upper[r].
  bool bounded = false;
  const TileCells* cells = nullptr;
};

struct ForwardTask {
  int64_t rows = 0;  ///< q positions.
  int64_t dim = 0, dim_v = 0;
  Rows q, k, v;
  std::span<const Visit> visits;
  const int32_t *lower = nullptr, *upper = nullptr;  ///< [rows]; for bounded visits.
  /// Both or neither. Pairs whose ids differ are not seen.
  const int32_t *q_segment_ids = nullptr, *kv_segment_ids = nullptr;
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
