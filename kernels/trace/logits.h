// SPDX-License-Identifier: Apache-2.0
#pragma once
// Logits of a rectangle as JAX's kernel makes them. Private to kernels/.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/grid.h"
#include "splashmask/kernels/trace/matmul.h"
#include "splashmask/masks/mask_cells.h"

namespace splashmask::trace {

/// Rows [first, first + count) of one head, in float32; or transposed, [dim][count].
Matrix Load(const ConstTensor& tensor, int64_t batch, int64_t head, int64_t first, int64_t count);
Matrix LoadTransposed(const ConstTensor& tensor, int64_t batch, int64_t head, int64_t first,
                      int64_t count);

/// Rounds every element to bfloat16, if that is `type`.
void RoundTo(FloatType type, Matrix* matrix);

/// Some q positions and some kv positions of what a step has in VMEM, of one sequence.
struct Rectangle {
  int64_t batch = 0;
  int64_t q_begin = 0, q_count = 0, kv_begin = 0, kv_count = 0;
};

/// What a pass's tables, its mask function and the segment ids let through.
class StepMask {
 public:
  /// Borrows all.
  StepMask(const CompiledPass& pass, bool is_dkv, const AttentionInputs& inputs,
           const JaxKernel& kernel, std::optional<float> soft_cap);

  /// Soft-caps q k^T, [q_count][kv_count], and puts mask_value where a pair is not visible.
  void Apply(const GridStep& step, const Rectangle& where, Matrix* logits) const;

 private:
  bool StoredBit(const GridStep& step, int64_t q, int64_t kv) const;

  const CompiledPass& pass_;
  const bool is_dkv_;
  const AttentionInputs& inputs_;
  const JaxKernel& kernel_;
  const std::optional<float> soft_cap_;
  std::optional<MaskCells> computed_;
};

}  // namespace splashmask::trace
