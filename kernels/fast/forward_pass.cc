// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/forward_pass.h"

#include <algorithm>
#include <vector>

#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/fast/run_tasks.h"

namespace splashmask::fast {

namespace {

// What a thread keeps from task to task, so that none allocates.
struct Workspace {
  RowWorkspace rows;
  std::vector<ForwardRows> groups;
};

}  // namespace

void ForwardPass::Run(const AttentionInputs& inputs, float soft_cap, const Tensor& out,
                      std::span<float> logsumexp, int threads, const Progress& progress) const {
  const int64_t rows_per_task =
      RowsPerTask(inputs.q.batch * inputs.q.heads * inputs.q.length, CountThreads(threads));
  const std::vector<RowTask> tasks = rows_.MakeTasks(inputs.q.batch, inputs.k.heads, rows_per_task);
  // Without visits: those are found when it is a task's turn.
  const auto describe = [&](const RowTask& task, std::vector<ForwardRows>* groups) {
    groups->clear();
    for (const RowGroup& group : task.groups) {
      ForwardRows& rows = groups->emplace_back();
      rows.heads = group.heads;
      rows.rows = group.rows;
      rows.q = RowsOf<Rows>(inputs.q, task.batch, group.head, group.first_row);
      rows.q_head = inputs.q.strides.heads;
      rows.out = RowsOf<OutputRows>(out, task.batch, group.head, group.first_row);
      rows.out_head = out.strides.heads;
      if (!logsumexp.empty()) {
        rows.logsumexp = logsumexp.data() + group.first_row +
                         (task.batch * inputs.q.heads + group.head) * inputs.q.length;
        rows.logsumexp_head = inputs.q.length;
      }
      if (!inputs.sinks.empty()) rows.sinks = inputs.sinks.data() + group.head;
      rows.mask = rows_.MaskOf(group, task.batch, inputs);
    }
    ForwardTask work;
    work.dim = inputs.q.dim;
    work.dim_v = inputs.v.dim;
    work.k = RowsOf<Rows>(inputs.k, task.batch, task.kv_head, 0);
    work.v = RowsOf<Rows>(inputs.v, task.batch, task.kv_head, 0);
    work.soft_cap = soft_cap;
    work.groups = *groups;
    return work;
  };
  int64_t scratch = 0;
  std::vector<ForwardRows> groups;
  for (const RowTask& task : tasks) {
    scratch = std::max(scratch, ForwardScratch(describe(task, &groups)));
  }
  RunTasks<Workspace>(tasks, scratch, threads, progress,
                      [&](const RowTask& task, Workspace& workspace, float* scratch_memory) {
                        const ForwardTask work = describe(task, &workspace.groups);
                        rows_.Find(task, &workspace.rows);
                        for (size_t i = 0; i < work.groups.size(); ++i) {
                          work.groups[i].visits.left = workspace.rows.Of(i);
                        }
                        RunForward(work, scratch_memory);
                      });
}

}  // namespace splashmask::fast
