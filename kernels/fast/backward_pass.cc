// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/backward_pass.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "splashmask/kernels/fast/backward_task.h"
#include "splashmask/kernels/fast/run_tasks.h"

namespace splashmask::fast {

namespace {

// kv positions in a task: so many that a panel of q, transposed once, serves many of them.
constexpr int64_t kPositionsPerTask = 256;

// The sum of out * d_out over the head's dimension, [batch, heads, q_len].
std::vector<float> RowSums(const ConstTensor& out, const ConstTensor& d_out, int threads) {
  std::vector<float> sums(static_cast<size_t>(out.batch * out.heads * out.length));
  RunWithThreads(threads, [&] {
    tbb::parallel_for(int64_t{0}, out.batch * out.heads, [&](int64_t i) {
      const int64_t b = i / out.heads, h = i % out.heads;
      for (int64_t q = 0; q < out.length; ++q) {
        float sum = 0;
        for (int64_t d = 0; d < out.dim; ++d) sum += out.At(b, h, q, d) * d_out.At(b, h, q, d);
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
        sum -= std::exp(inputs.sinks[static_cast<size_t>(h)] - logsumexp[i]) * di[i];
      }
    }
    out[static_cast<size_t>(h)] = static_cast<float>(sum);
  }
}

}  // namespace

void BackwardPass::Run(const AttentionInputs& inputs, const ForwardResult& forward,
                       const ConstTensor& d_out, float soft_cap,
                       const AttentionGradients& gradients, int threads,
                       const Progress& progress) const {
  const std::vector<float> di = RowSums(forward.out, d_out, threads);
  const ConstTensor &q = inputs.q, &k = inputs.k, &v = inputs.v;
  const int64_t heads_per_kv_head = q.heads / k.heads;
  const auto rows_of = [&](int64_t batch, int64_t head, int64_t first, int64_t count) {
    const int64_t row = (batch * q.heads + head) * q.length + first;
    QRows rows;
    rows.count = count;
    rows.q = RowsOf<Rows>(q, batch, head, first);
    rows.d_out = RowsOf<Rows>(d_out, batch, head, first);
    rows.logsumexp = forward.logsumexp.data() + row;
    rows.di = di.data() + row;
    return rows;
  };

  const auto half = [&](double begin) {
    Progress part;
    part.stop = progress.stop;
    part.report = [&progress, begin](double done) { progress.Report(begin + done / 2); };
    return part;
  };
  RunTasks<RowWorkspace>(
      rows_.MakeTasks(q.batch, kRowsPerTask),
      DqScratch(std::min(kRowsPerTask, rows_.block().q), q.dim, v.dim), threads, half(0),
      [&](const RowTask& task, RowWorkspace& workspace, float* scratch) {
        DqTask work;
        work.rows = rows_of(task.batch, task.head, task.first_row, task.rows);
        work.rows.mask = rows_.Find(task, inputs, &workspace);
        work.visits = workspace.visits;
        work.dim = q.dim;
        work.dim_v = v.dim;
        work.k = RowsOf<Rows>(k, task.batch, task.head / heads_per_kv_head, 0);
        work.v = RowsOf<Rows>(v, task.batch, task.head / heads_per_kv_head, 0);
        work.soft_cap = soft_cap;
        work.dq = RowsOf<OutputRows>(gradients.dq, task.batch, task.head, task.first_row);
        RunDq(work, scratch);
      });

  struct Workspace {
    ColumnWorkspace columns;
    std::vector<QVisit> visits;
  };
  RunTasks<Workspace>(
      columns_.MakeTasks(q.batch, k.heads, kPositionsPerTask),
      DkvScratch(std::min(kPositionsPerTask, columns_.block().kv), q.dim, v.dim), threads,
      half(0.5), [&](const ColumnTask& task, Workspace& workspace, float* scratch) {
        columns_.Find(task, heads_per_kv_head, &workspace.columns);
        workspace.visits.clear();
        for (const ColumnVisit& visit : workspace.columns.visits) {
          QVisit work{rows_of(task.batch, visit.head, visit.first_row, visit.rows), visit.visit};
          work.rows.mask.lower = visit.lower;
          work.rows.mask.upper = visit.upper;
          if (inputs.segment_ids) {
            work.rows.mask.q_segment_ids = inputs.segment_ids->q.data() + visit.first_row;
            work.rows.mask.kv_segment_ids = inputs.segment_ids->kv.data();
          }
          workspace.visits.push_back(work);
        }
        DkvTask work;
        work.kv_begin = task.first;
        work.kv_count = task.count;
        work.dim = q.dim;
        work.dim_v = v.dim;
        work.k = RowsOf<Rows>(k, task.batch, task.kv_head, 0);
        work.v = RowsOf<Rows>(v, task.batch, task.kv_head, 0);
        work.visits = workspace.visits;
        work.soft_cap = soft_cap;
        work.dk = RowsOf<OutputRows>(gradients.dk, task.batch, task.kv_head, 0);
        work.dv = RowsOf<OutputRows>(gradients.dv, task.batch, task.kv_head, 0);
        RunDkv(work, scratch);
      });
  if (!gradients.sinks.empty()) {
    SinkGradients(inputs, forward.logsumexp, di, gradients.sinks);
  }
}

}  // namespace splashmask::fast
