// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "splashmask/kernels/trace/kernel.h"
#include "splashmask/kernels/trace/logits.h"
#include "splashmask/kernels/trace/tasks.h"

namespace splashmask::trace {

namespace {

// jnp.maximum: NaN stays.
float Maximum(float a, float b) { return a > b || std::isnan(a) ? a : b; }

// Some rows of one q block, from its first step to its last.
class ForwardRows {
 public:
  ForwardRows(const StepMask& mask, const AttentionInputs& inputs, int64_t batch, int64_t head,
              int64_t first, int64_t count, float mask_value)
      : mask_(mask),
        inputs_(inputs),
        batch_(batch),
        kv_head_(head / (inputs.q.heads / inputs.k.heads)),
        first_(first),
        q_(Load(inputs.q, batch, head, first, count)),
        out_(count, inputs.v.dim),
        max_(static_cast<size_t>(count), mask_value),
        sum_(static_cast<size_t>(count)) {
    if (inputs.sinks.empty()) return;
    std::ranges::fill(max_, inputs.sinks[static_cast<size_t>(head)]);
    std::ranges::fill(sum_, 1.0f);
  }

  // [kv, kv + count) of the step's block.
  void Visit(const GridStep& step, int64_t kv, int64_t count) {
    Matrix weights(q_.rows, count);
    AddProduct(q_, LoadTransposed(inputs_.k, batch_, kv_head_, kv, count), &weights);
    mask_.Apply(step, {batch_, first_, q_.rows, kv, count}, &weights);
    for (int64_t r = 0; r < q_.rows; ++r) {
      float& max = max_[static_cast<size_t>(r)];
      float& sum = sum_[static_cast<size_t>(r)];
      float next = weights.row(r)[0];
      for (int64_t c = 1; c < count; ++c) next = Maximum(next, weights.row(r)[c]);
      next = Maximum(max, next);
      const float alpha = std::exp(max - next);
      float current = 0;
      for (int64_t c = 0; c < count; ++c) {
        weights.row(r)[c] = std::exp(weights.row(r)[c] - next);
        current += weights.row(r)[c];
      }
      sum = current + alpha * sum;
      max = next;
      for (int64_t d = 0; d < out_.columns; ++d) out_.row(r)[d] *= alpha;
    }
    AddProduct(weights, Load(inputs_.v, batch_, kv_head_, kv, count), &out_);
  }

  float Out(int64_t row, int64_t d) const {
    return out_.row(row)[d] * (1.0f / sum_[static_cast<size_t>(row)]);
  }
  float LogSumExp(int64_t row) const {
    return std::log(sum_[static_cast<size_t>(row)]) + max_[static_cast<size_t>(row)];
  }

 private:
  const StepMask& mask_;
  const AttentionInputs& inputs_;
  const int64_t batch_, kv_head_, first_;
  const Matrix q_;
  Matrix out_;  // Not yet divided by the sum.
  std::vector<float> max_, sum_;
};

}  // namespace

void Forward(const Plan& plan, const AttentionInputs& inputs, const AttentionOptions& options,
             const Tensor& out, std::span<float> logsumexp, const Progress& progress) {
  const JaxKernel& kernel = *options.compat_jax;
  const Grid grid(plan, Pass::kFwd);
  const BlockShape block = plan.fwd->block;
  const StepMask mask(*plan.fwd, false, inputs, kernel, options.attn_logits_soft_cap);
  const int64_t compute = kernel.block_kv_compute > 0 ? kernel.block_kv_compute : block.kv;
  ForEachRows(grid, block.q, inputs.q.batch, options.threads, progress, [&](const RowsOfStep& at) {
    ForwardRows rows(mask, inputs, at.batch, at.head, at.first, at.count, kernel.mask_value);
    for (int64_t j = 0; j < grid.shape()[2]; ++j) {
      const GridStep step = at.Step(grid, j);
      if (step.block_class == 0) continue;
      for (int64_t kv = 0; kv < block.kv; kv += compute) {
        rows.Visit(step, step.kv_block * block.kv + kv, compute);
      }
    }
    for (int64_t r = 0; r < at.count; ++r) {
      const int64_t q = at.first + r;
      for (int64_t d = 0; d < out.dim; ++d) out.Set(at.batch, at.head, q, d, rows.Out(r, d));
      if (logsumexp.empty()) continue;
      logsumexp[static_cast<size_t>((at.batch * inputs.q.heads + at.head) * inputs.q.length + q)] =
          rows.LogSumExp(r);
    }
  });
}

}  // namespace splashmask::trace
