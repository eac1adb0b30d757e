// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/trace/logits.h"

#include <cmath>
#include <cstddef>

namespace splashmask::trace {

Matrix Load(const ConstTensor& tensor, int64_t batch, int64_t head, int64_t first, int64_t count) {
  Matrix matrix(count, tensor.dim);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t d = 0; d < tensor.dim; ++d) {
      matrix.row(i)[d] = tensor.At(batch, head, first + i, d);
    }
  }
  return matrix;
}

Matrix LoadTransposed(const ConstTensor& tensor, int64_t batch, int64_t head, int64_t first,
                      int64_t count) {
  Matrix matrix(tensor.dim, count);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t d = 0; d < tensor.dim; ++d) {
      matrix.row(d)[i] = tensor.At(batch, head, first + i, d);
    }
  }
  return matrix;
}

void RoundTo(FloatType type, Matrix* matrix) {
  if (type == FloatType::kFloat32) return;
  for (float& value : matrix->values) value = FromBFloat16(ToBFloat16(value));
}

StepMask::StepMask(const CompiledPass& pass, bool is_dkv, const AttentionInputs& inputs,
                   const JaxKernel& kernel, std::optional<float> soft_cap)
    : pass_(pass), is_dkv_(is_dkv), inputs_(inputs), kernel_(kernel), soft_cap_(soft_cap) {
  if (pass.mask_function) {
    computed_.emplace(pass.mask_function->Reorder(Positions::FromArray(*pass.info.q_sequence)));
  }
}

bool StepMask::StoredBit(const GridStep& step, int64_t q, int64_t kv) const {
  const int64_t row = q - step.q_block * pass_.block.q;
  const int64_t column = kv - step.kv_block * pass_.block.kv;
  const PartialMaskBlocks& blocks = *pass_.info.partial_mask_blocks;
  return is_dkv_ ? blocks.At(step.stored, column, row) : blocks.At(step.stored, row, column);
}

void StepMask::Apply(const GridStep& step, const Rectangle& where, Matrix* logits) const {
  if (soft_cap_) {
    for (float& logit : logits->values) logit = std::tanh(logit / *soft_cap_) * *soft_cap_;
  }
  // The kernel computes a mask that is a function in full blocks, too.
  std::vector<std::byte> cells;
  if (computed_) {
    cells.resize(logits->values.size());
    computed_->Read(where.q_begin, where.q_begin + where.q_count, where.kv_begin,
                    where.kv_begin + where.kv_count, cells.data());
  }
  const bool is_stored = pass_.info.partial_mask_blocks && step.block_class == 1;
  for (int64_t i = 0; i < where.q_count; ++i) {
    const int64_t q = where.q_begin + i;
    for (int64_t j = 0; j < where.kv_count; ++j) {
      const int64_t kv = where.kv_begin + j;
      bool is_visible = true;
      if (computed_) {
        is_visible = cells[static_cast<size_t>(i * where.kv_count + j)] != std::byte{0};
      } else if (is_stored) {
        is_visible = StoredBit(step, q, kv);
      }
      if (inputs_.segment_ids) {
        is_visible &= inputs_.segment_ids->OfQ(where.batch, inputs_.q.length)[q] ==
                      inputs_.segment_ids->OfKv(where.batch, inputs_.k.length)[kv];
      }
      if (!is_visible) logits->row(i)[j] = kernel_.mask_value;
    }
  }
}

}  // namespace splashmask::trace
