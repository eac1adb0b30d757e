// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/forward_pass.h"

#include <algorithm>
#include <vector>

#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/fast/run_tasks.h"

namespace splashmask::fast {

void ForwardPass::Run(const AttentionInputs& inputs, float soft_cap, const Tensor& out,
                      std::span<float> logsumexp, int threads, const Progress& progress) const {
  const int64_t rows_per_task =
      RowsPerTask(inputs.q.batch * inputs.q.heads * inputs.q.length, CountThreads(threads));
  const std::vector<RowTask> tasks = rows_.MakeTasks(inputs.q.batch, rows_per_task);
  const int64_t scratch =
      ForwardScratch(std::min(rows_per_task, rows_.block().q), inputs.q.dim, inputs.v.dim);
  const int64_t heads_per_kv_head = inputs.q.heads / inputs.k.heads;
  RunTasks<RowWorkspace>(
      tasks, scratch, threads, progress,
      [&](const RowTask& task, RowWorkspace& workspace, float* scratch_memory) {
        ForwardTask work;
        work.rows = task.rows;
        work.dim = inputs.q.dim;
        work.dim_v = inputs.v.dim;
        work.mask = rows_.Find(task, inputs, &workspace);
        work.visits = workspace.visits;
        work.q = RowsOf<Rows>(inputs.q, task.batch, task.head, task.first_row);
        work.k = RowsOf<Rows>(inputs.k, task.batch, task.head / heads_per_kv_head, 0);
        work.v = RowsOf<Rows>(inputs.v, task.batch, task.head / heads_per_kv_head, 0);
        work.soft_cap = soft_cap;
        if (!inputs.sinks.empty()) work.sink = &inputs.sinks[static_cast<size_t>(task.head)];
        work.out = RowsOf<OutputRows>(out, task.batch, task.head, task.first_row);
        if (!logsumexp.empty()) {
          work.logsumexp = logsumexp.data() +
                           (task.batch * inputs.q.heads + task.head) * inputs.q.length +
                           task.first_row;
        }
        RunForward(work, scratch_memory);
      });
}

}  // namespace splashmask::fast
