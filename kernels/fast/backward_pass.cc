// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/backward_pass.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "splashmask/kernels/fast/dkv_task.h"
#include "splashmask/kernels/fast/dq_task.h"
#include "splashmask/kernels/fast/run_tasks.h"
#include "splashmask/kernels/fast/same_pairs.h"
#include "splashmask/planner/memory.h"

namespace splashmask::fast {

namespace {

// kv positions in a task: so many that a panel of q, transposed once, serves many of them.
constexpr int64_t kPositionsPerTask = 256;

// The sum of out * d_out over the head's dimension, [batch, heads, q_len]. Where out is 0, as in
// rows that see nothing, d_out adds nothing, whatever it is.
std::vector<float> RowSums(const ConstTensor& out, const ConstTensor& d_out, int threads) {
  std::vector<float> sums(static_cast<size_t>(out.batch * out.heads * out.length));
  RunWithThreads(threads, [&] {
    tbb::parallel_for(int64_t{0}, out.batch * out.heads, [&](int64_t i) {
      const int64_t b = i / out.heads, h = i % out.heads;
      for (int64_t q = 0; q < out.length; ++q) {
        float sum = 0;
        for (int64_t d = 0; d < out.dim; ++d) {
          const float value = out.At(b, h, q, d);
          if (value != 0) sum += value * d_out.At(b, h, q, d);
        }
        sums[static_cast<size_t>(i * out.length + q)] = sum;
      }
    });
  });
  return sums;
}

// A sink is a logit whose value is 0.
void SinkGradients(const AttentionInputs& inputs, std::span<const float> logsumexp,
                   const std::vector<float>& di, std::span<float> out) {
  for (int64_t h = 0; h < std::ssize(out); ++h) {
    double sum = 0;
    for (int64_t b = 0; b < inputs.q.batch; ++b) {
      for (int64_t q = 0; q < inputs.q.length; ++q) {
        const auto i = static_cast<size_t>((b * inputs.q.heads + h) * inputs.q.length + q);
        if (logsumexp[i] == -std::numeric_limits<float>::infinity()) continue;
        // A sink beside which nothing counts has all the weight, infinite ones too.
        const float sink = inputs.sinks[static_cast<size_t>(h)];
        sum -= (sink == logsumexp[i] ? 1 : std::exp(sink - logsumexp[i])) * di[i];
      }
    }
    out[static_cast<size_t>(h)] = static_cast<float>(sum);
  }
}

// Where dq is summed in float32: where it will lie, if that is float32 row by row, else apart.
class DqMemory {
 public:
  explicit DqMemory(const Tensor& dq) : dq_(dq) {
    is_apart_ =
        dq.type != FloatType::kFloat32 || dq.strides.dim != 1 || dq.strides.length != dq.dim;
    if (is_apart_) {
      apart_ = AllocateBytes(dq.batch * dq.heads * dq.length * dq.dim *
                             static_cast<int64_t>(sizeof(float)));
    }
  }

  // From a row on.
  float* At(int64_t batch, int64_t head, int64_t row) const {
    if (!is_apart_) return static_cast<float*>(dq_.data) + dq_.Offset(batch, head, row, 0);
    return reinterpret_cast<float*>(apart_.get()) +
           ((batch * dq_.heads + head) * dq_.length + row) * dq_.dim;
  }

 private:
  const Tensor& dq_;
  bool is_apart_;
  std::shared_ptr<std::byte> apart_;
};

// The q blocks of all heads, and who may add to each of their sums.
struct QBlock {
  int64_t batch, head, first_row;
};
class DqTurns {
 public:
  DqTurns(const Tensor& dq, int64_t block_q) : dq_(dq), block_q_(block_q) {
    turns_ = std::vector<std::atomic<int32_t>>(
        static_cast<size_t>(dq.batch * dq.heads * dq.length / block_q));
  }

  std::atomic<int32_t>& Of(const QBlock& at) {
    const int64_t blocks = dq_.length / block_q_;
    return turns_[static_cast<size_t>((at.batch * dq_.heads + at.head) * blocks +
                                      at.first_row / block_q_)];
  }

  std::vector<QBlock> Blocks() const {
    std::vector<QBlock> blocks;
    for (int64_t b = 0; b < dq_.batch; ++b) {
      for (int64_t h = 0; h < dq_.heads; ++h) {
        for (int64_t row = 0; row < dq_.length; row += block_q_) blocks.push_back({b, h, row});
      }
    }
    return blocks;
  }

  std::atomic<bool> is_abandoned = false;

 private:
  const Tensor& dq_;
  const int64_t block_q_;
  std::vector<std::atomic<int32_t>> turns_;
};

}  // namespace

// One call's arguments, and what both passes need of them.
struct BackwardPass::Call {
  const AttentionInputs& inputs;
  const ForwardResult& forward;
  const ConstTensor& d_out;
  const float soft_cap;
  const AttentionGradients& gradients;
  const int threads;
  const std::vector<float> di = RowSums(forward.out, d_out, threads);
  const int64_t heads_per_kv_head = inputs.q.heads / inputs.k.heads;

  GradientRows RowsFrom(int64_t batch, int64_t head, int64_t first, int64_t count) const {
    const int64_t row = (batch * inputs.q.heads + head) * inputs.q.length + first;
    GradientRows rows;
    rows.count = count;
    rows.q = RowsOf<Rows>(inputs.q, batch, head, first);
    rows.d_out = RowsOf<Rows>(d_out, batch, head, first);
    rows.logsumexp = forward.logsumexp.data() + row;
    rows.di = di.data() + row;
    return rows;
  }
};

BackwardPass::BackwardPass(const Plan& plan) : columns_(plan) {
  if (!plan.options.use_fused_bwd_kernel && !DqAndDkvSeeTheSame(plan)) {
    rows_.emplace(plan, *plan.dq);
  }
}

void BackwardPass::Run(const AttentionInputs& inputs, const ForwardResult& forward,
                       const ConstTensor& d_out, float soft_cap,
                       const AttentionGradients& gradients, int threads,
                       const Progress& progress) const {
  const Call call{inputs, forward, d_out, soft_cap, gradients, threads};
  if (rows_) {
    RunDqPass(call, progress.Part(0, 0.5));
    RunDkvPass(call, progress.Part(0.5, 1));
  } else {
    RunDkvPass(call, progress);
  }
  if (!gradients.sinks.empty()) {
    SinkGradients(inputs, forward.logsumexp, call.di, gradients.sinks);
  }
}

void BackwardPass::RunDqPass(const Call& call, const Progress& progress) const {
  const AttentionInputs& inputs = call.inputs;
  const int64_t dim = inputs.q.dim, dim_v = inputs.v.dim;
  const int64_t rows_per_task =
      RowsPerTask(inputs.q.batch * inputs.q.heads * inputs.q.length, CountThreads(call.threads));
  RunTasks<RowWorkspace>(
      rows_->MakeTasks(inputs.q.batch, inputs.k.heads, rows_per_task),
      DqScratch(std::min(rows_per_task, rows_->block().q), dim, dim_v), call.threads, progress,
      [&](const RowTask& task, RowWorkspace& workspace, float* scratch) {
        rows_->Find(task, &workspace);
        for (size_t i = 0; i < task.groups.size(); ++i) {
          const RowGroup& group = task.groups[i];
          for (int64_t head = group.head; head < group.head + group.heads; ++head) {
            DqTask work;
            work.rows = call.RowsFrom(task.batch, head, group.first_row, group.rows);
            work.rows.mask = rows_->MaskOf(group, task.batch, inputs);
            work.visits.left = workspace.Of(i);
            work.dim = dim;
            work.dim_v = dim_v;
            work.k = RowsOf<Rows>(inputs.k, task.batch, task.kv_head, 0);
            work.v = RowsOf<Rows>(inputs.v, task.batch, task.kv_head, 0);
            work.soft_cap = call.soft_cap;
            work.dq = RowsOf<OutputRows>(call.gradients.dq, task.batch, head, group.first_row);
            RunDq(work, scratch);
          }
        }
      });
}

void BackwardPass::RunDkvPass(const Call& call, const Progress& progress) const {
  const AttentionInputs& inputs = call.inputs;
  const AttentionGradients& gradients = call.gradients;
  const int64_t dim = inputs.q.dim, dim_v = inputs.v.dim;
  const bool is_fused = !rows_;
  std::optional<DqMemory> dq_memory;
  if (is_fused) dq_memory.emplace(gradients.dq);
  DqTurns turns(gradients.dq, columns_.block().q);
  struct Workspace {
    std::vector<ColumnVisit> columns;
    std::vector<QVisit> visits;
  };
  const auto run = [&](const ColumnTask& task, Workspace& workspace, float* scratch) {
    columns_.Find(task, call.heads_per_kv_head, &workspace.columns);
    workspace.visits.clear();
    for (const ColumnVisit& visit : workspace.columns) {
      QVisit work;
      work.rows = call.RowsFrom(task.batch, visit.head, visit.first_row, visit.rows);
      work.visit = visit.visit;
      work.rows.mask.lower = visit.lower;
      work.rows.mask.upper = visit.upper;
      work.rows.mask.SetSegmentIds(inputs, task.batch, visit.first_row);
      if (is_fused) {
        work.dq = {dq_memory->At(task.batch, visit.head, visit.first_row),
                   &turns.Of({task.batch, visit.head, visit.first_row}), visit.number};
      }
      workspace.visits.push_back(work);
    }
    DkvTask work;
    work.kv_begin = task.first;
    work.kv_count = task.count;
    work.dim = dim;
    work.dim_v = dim_v;
    work.k = RowsOf<Rows>(inputs.k, task.batch, task.kv_head, 0);
    work.v = RowsOf<Rows>(inputs.v, task.batch, task.kv_head, 0);
    work.visits = workspace.visits;
    work.soft_cap = call.soft_cap;
    work.dk = RowsOf<OutputRows>(gradients.dk, task.batch, task.kv_head, 0);
    work.dv = RowsOf<OutputRows>(gradients.dv, task.batch, task.kv_head, 0);
    work.is_abandoned = &turns.is_abandoned;
    RunDkv(work, scratch);
  };
  RunTasks<Workspace>(
      columns_.MakeTasks(inputs.q.batch, inputs.k.heads, kPositionsPerTask,
                         is_fused ? ColumnVisits::Order::kPosition : ColumnVisits::Order::kCost),
      DkvScratch(std::min(kPositionsPerTask, columns_.block().kv), dim, dim_v), call.threads,
      progress, [&](const ColumnTask& task, Workspace& workspace, float* scratch) {
        try {
          run(task, workspace, scratch);
        } catch (...) {
          turns.is_abandoned = true;  // Nobody waits for the turns that this task does not end.
          throw;
        }
      });
  if (!is_fused) return;
  const int64_t block_q = columns_.block().q;
  struct Nothing {};
  RunTasks<Nothing>(
      turns.Blocks(), WriteDqScratch(dim), call.threads, {},
      [&](const QBlock& at, Nothing&, float* scratch) {
        const bool has_visits = turns.Of(at) != 0;
        WriteDq(has_visits ? dq_memory->At(at.batch, at.head, at.first_row) : nullptr, block_q, dim,
                RowsOf<OutputRows>(gradients.dq, at.batch, at.head, at.first_row), scratch);
      });
}

}  // namespace splashmask::fast
