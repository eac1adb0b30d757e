// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "splashmask/kernels/trace/kernel.h"
#include "splashmask/kernels/trace/logits.h"
#include "splashmask/kernels/trace/tasks.h"

namespace splashmask::trace {

namespace {

// Rows of q that a product takes at once; memory is all that depends on it.
constexpr int64_t kRows = 128;

// The sum of out * d_out over the head's dimension, [batch, heads, q_len].
std::vector<float> RowSums(const ConstTensor& out, const ConstTensor& d_out) {
  std::vector<float> sums;
  for (int64_t b = 0; b < out.batch; ++b) {
    for (int64_t h = 0; h < out.heads; ++h) {
      for (int64_t q = 0; q < out.length; ++q) {
        float sum = 0;
        for (int64_t d = 0; d < out.dim; ++d) sum += out.At(b, h, q, d) * d_out.At(b, h, q, d);
        sums.push_back(sum);
      }
    }
  }
  return sums;
}

class BackwardSteps {
 public:
  BackwardSteps(const Plan& plan, Pass pass, const AttentionInputs& inputs,
                const ForwardResult& forward, const ConstTensor& d_out,
                const AttentionOptions& options, const std::vector<float>& di)
      : grid(plan, pass),
        block(plan.pass(pass)->block),
        inputs_(inputs),
        forward_(forward),
        d_out_(d_out),
        soft_cap_(options.attn_logits_soft_cap),
        mask_(*plan.pass(pass), pass == Pass::kDkv, inputs, *options.compat_jax, soft_cap_),
        di_(di) {}

  struct Rows {
    int64_t batch = 0, head = 0, first = 0;
    Matrix q, d_out;
  };
  Rows LoadRows(int64_t batch, int64_t head, int64_t first, int64_t count) const {
    return {batch, head, first, Load(inputs_.q, batch, head, first, count),
            Load(d_out_, batch, head, first, count)};
  }

  int64_t KvHead(int64_t head) const { return head / (inputs_.q.heads / inputs_.k.heads); }

  // The weights and the gradients of the uncapped logits, [rows][count].
  void Compute(const GridStep& step, const Rows& rows, int64_t kv, int64_t count, Matrix* weights,
               Matrix* d_logits) const {
    const int64_t kv_head = KvHead(rows.head);
    weights->Resize(rows.q.rows, count);
    d_logits->Resize(rows.q.rows, count);
    AddProduct(rows.q, LoadTransposed(inputs_.k, rows.batch, kv_head, kv, count), weights);
    const Matrix uncapped = soft_cap_ ? *weights : Matrix();
    mask_.Apply(step, {rows.batch, rows.first, rows.q.rows, kv, count}, weights);
    AddProduct(rows.d_out, LoadTransposed(inputs_.v, rows.batch, kv_head, kv, count), d_logits);
    for (int64_t r = 0; r < rows.q.rows; ++r) {
      const auto row = static_cast<size_t>(
          (rows.batch * inputs_.q.heads + rows.head) * inputs_.q.length + rows.first + r);
      for (int64_t c = 0; c < count; ++c) {
        float& weight = weights->row(r)[c];
        float& gradient = d_logits->row(r)[c];
        weight = std::exp(weight - forward_.logsumexp[row]);
        gradient = (gradient - di_[row]) * weight;
        if (!soft_cap_) continue;
        const float tanh = std::tanh(uncapped.row(r)[c] / *soft_cap_);
        gradient *= 1 - tanh;
        gradient += gradient * tanh;
      }
    }
  }

  const Grid grid;
  const BlockShape block;

 private:
  const AttentionInputs& inputs_;
  const ForwardResult& forward_;
  const ConstTensor& d_out_;
  const std::optional<float> soft_cap_;
  const StepMask mask_;
  const std::vector<float>& di_;
};

void Store(const Matrix& from, const Tensor& to, int64_t batch, int64_t head, int64_t first) {
  for (int64_t i = 0; i < from.rows; ++i) {
    for (int64_t d = 0; d < from.columns; ++d) to.Set(batch, head, first + i, d, from.row(i)[d]);
  }
}

void RunDq(const BackwardSteps& steps, const AttentionInputs& inputs, const Tensor& dq, int threads,
           const Progress& progress) {
  const BlockShape block = steps.block;
  ForEachRows(steps.grid, block.q, dq.batch, threads, progress, [&](const RowsOfStep& at) {
    const auto rows = steps.LoadRows(at.batch, at.head, at.first, at.count);
    Matrix sum(at.count, dq.dim), weights, d_logits;
    for (int64_t j = 0; j < steps.grid.shape()[2]; ++j) {
      const GridStep step = at.Step(steps.grid, j);
      if (step.block_class == 0) continue;
      const int64_t kv = step.kv_block * block.kv;
      steps.Compute(step, rows, kv, block.kv, &weights, &d_logits);
      RoundTo(inputs.k.type, &d_logits);
      AddProduct(d_logits, Load(inputs.k, at.batch, steps.KvHead(at.head), kv, block.kv), &sum);
    }
    Store(sum, dq, at.batch, at.head, at.first);
  });
}

// Calls visit(step) for the steps of dkv that are not skipped, of one kv block and one head.
template <typename Visit>
void ForEachVisit(const Grid& grid, int64_t kv_block, int64_t head, const Visit& visit) {
  const int64_t heads = grid.shape()[1];
  for (int64_t q_shard = 0; q_shard < grid.q_seq_shards(); ++q_shard) {
    for (int64_t i = 0; i < grid.shape()[2]; ++i) {
      const GridStep step = grid.At(head / heads, q_shard, {kv_block, head % heads, i});
      if (step.block_class != 0) visit(step);
    }
  }
}

void RunDkv(const BackwardSteps& steps, const AttentionInputs& inputs, const ConstTensor& d_out,
            int64_t compute, const AttentionGradients& gradients, int threads,
            const Progress& progress) {
  const BlockShape block = steps.block;
  const int64_t kv_heads = inputs.k.heads, heads = inputs.q.heads / kv_heads;
  const int64_t kv_blocks = inputs.k.length / block.kv, parts = block.kv / compute;
  const int64_t count = inputs.q.batch * kv_heads * kv_blocks * parts;
  ForEachTask(count, threads, progress, [&](int64_t i) {
    const int64_t kv_block = i / parts % kv_blocks, kv_head = i / parts / kv_blocks % kv_heads;
    const int64_t batch = i / parts / kv_blocks / kv_heads;
    const int64_t kv = kv_block * block.kv + i % parts * compute;
    Matrix dk(compute, inputs.k.dim), dv(compute, inputs.v.dim), weights, d_logits;
    for (int64_t head = kv_head * heads; head < (kv_head + 1) * heads; ++head) {
      ForEachVisit(steps.grid, kv_block, head, [&](const GridStep& step) {
        for (int64_t first = 0; first < block.q; first += kRows) {
          const auto rows = steps.LoadRows(batch, head, step.q_block * block.q + first,
                                           std::min(kRows, block.q - first));
          steps.Compute(step, rows, kv, compute, &weights, &d_logits);
          RoundTo(d_out.type, &weights);
          RoundTo(d_out.type, &d_logits);
          AddTransposedProduct(weights, rows.d_out, &dv);
          AddTransposedProduct(d_logits, rows.q, &dk);
        }
      });
    }
    Store(dk, gradients.dk, batch, kv_head, kv);
    Store(dv, gradients.dv, batch, kv_head, kv);
  });
}

// The fused kernel writes what each kv block adds to dq in q's type; their sum is taken outside.
void RunFusedDq(const BackwardSteps& steps, const AttentionInputs& inputs, int64_t compute,
                const Tensor& dq, int threads, const Progress& progress) {
  const BlockShape block = steps.block;
  const int64_t kv_blocks = inputs.k.length / block.kv;
  const int64_t parts = (block.q + kRows - 1) / kRows;
  const int64_t q_blocks = inputs.q.length / block.q;
  ForEachTask(dq.batch * dq.heads * q_blocks * parts, threads, progress, [&](int64_t i) {
    const int64_t q_block = i / parts % q_blocks, head = i / parts / q_blocks % dq.heads;
    const int64_t batch = i / parts / q_blocks / dq.heads;
    const int64_t first = q_block * block.q + i % parts * kRows;
    const auto rows =
        steps.LoadRows(batch, head, first, std::min(kRows, (q_block + 1) * block.q - first));
    Matrix sum(rows.q.rows, dq.dim), weights, d_logits;
    for (int64_t kv_block = 0; kv_block < kv_blocks; ++kv_block) {
      ForEachVisit(steps.grid, kv_block, head, [&](const GridStep& step) {
        if (step.q_block != q_block) return;
        Matrix of_block(rows.q.rows, dq.dim);
        for (int64_t part = 0; part < block.kv; part += compute) {
          const int64_t kv = kv_block * block.kv + part;
          steps.Compute(step, rows, kv, compute, &weights, &d_logits);
          RoundTo(inputs.k.type, &d_logits);
          AddProduct(d_logits, Load(inputs.k, batch, steps.KvHead(head), kv, compute), &of_block);
        }
        RoundTo(inputs.q.type, &of_block);
        for (size_t d = 0; d < sum.values.size(); ++d) sum.values[d] += of_block.values[d];
      });
    }
    Store(sum, dq, batch, head, first);
  });
}

void SinkGradients(const std::vector<float>& di, const AttentionInputs& inputs,
                   std::span<const float> logsumexp, std::span<float> sinks) {
  const int64_t heads = inputs.q.heads, q_len = inputs.q.length;
  std::ranges::fill(sinks, 0.0f);
  for (int64_t i = 0; i < std::ssize(logsumexp); ++i) {
    const auto head = static_cast<size_t>(i / q_len % heads), row = static_cast<size_t>(i);
    sinks[head] -= std::exp(inputs.sinks[head] - logsumexp[row]) * di[row];
  }
}

}  // namespace

void Backward(const Plan& plan, const AttentionInputs& inputs, const ForwardResult& forward,
              const ConstTensor& d_out, const AttentionOptions& options,
              const AttentionGradients& gradients, const Progress& progress) {
  const std::vector<float> di = RowSums(forward.out, d_out);
  const BackwardSteps dkv(plan, Pass::kDkv, inputs, forward, d_out, options, di);
  const int64_t asked = options.compat_jax->block_kv_dkv_compute;
  const int64_t compute = asked > 0 ? asked : dkv.block.kv;
  RunDkv(dkv, inputs, d_out, compute, gradients, options.threads, progress.Part(0, 0.5));
  if (plan.options.use_fused_bwd_kernel) {
    RunFusedDq(dkv, inputs, compute, gradients.dq, options.threads, progress.Part(0.5, 1));
  } else {
    const BackwardSteps dq(plan, Pass::kDq, inputs, forward, d_out, options, di);
    RunDq(dq, inputs, gradients.dq, options.threads, progress.Part(0.5, 1));
  }
  if (!gradients.sinks.empty()) SinkGradients(di, inputs, forward.logsumexp, gradients.sinks);
}

}  // namespace splashmask::trace
