// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/forward_pass.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <mutex>

#include "splashmask/kernels/fast/block_cells.h"
#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask::fast {

namespace {

// Enough rows that a tile of k and v, read once, serves many of them; few enough that the state of
// all stays in the second cache.
constexpr int64_t kRowsPerTask = 256;

Rows HeadOf(const ConstTensor& tensor, int64_t batch, int64_t head) {
  const auto* data = static_cast<const std::byte*>(tensor.data);
  return {data + tensor.Offset(batch, head, 0, 0) * FloatSize(tensor.type), tensor.type,
          tensor.strides.length, tensor.strides.dim};
}

Rows FromRow(Rows rows, int64_t row) {
  rows.data = static_cast<const std::byte*>(rows.data) + row * rows.row * FloatSize(rows.type);
  return rows;
}

}  // namespace

struct ForwardPass::Workspace {
  std::shared_ptr<std::byte> scratch;
  int64_t scratch_floats = 0;
  std::vector<Visit> visits;
  std::vector<StoredCells> stored;
  std::vector<int32_t> lower, upper;
  Runs runs;
};

ForwardPass::ForwardPass(const Plan& plan) : plan_(plan), pass_(*plan.fwd) {
  const Table& block_mask = *pass_.info.block_mask;
  const auto [entries, rows, columns] = block_mask.shape();
  heads_per_entry_ = plan.mask.num_heads() / entries;
  if (pass_.mask_function) {
    computed_ = Analyze(pass_.mask_function->Reorder(Positions::FromArray(*pass_.info.q_sequence)));
  }
  visits_.reserve(static_cast<size_t>(entries * rows));
  for (int64_t row = 0; row < entries * rows; ++row) {
    int32_t visits = 0;
    for (int64_t j = 0; j < columns; ++j) visits += block_mask.At(row * columns + j) != 0;
    visits_.push_back(visits);
  }
}

std::vector<ForwardPass::Task> ForwardPass::MakeTasks(int64_t batch, int64_t rows_per_task) const {
  const int64_t q_blocks = pass_.info.block_mask->shape()[1], block_q = pass_.block.q;
  std::vector<Task> tasks;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t head = 0; head < plan_.mask.num_heads(); ++head) {
      for (int64_t q_block = 0; q_block < q_blocks; ++q_block) {
        const int64_t visits = visits_[static_cast<size_t>(EntryOf(head) * q_blocks + q_block)];
        for (int64_t row = 0; row < block_q; row += rows_per_task) {
          const int64_t rows = std::min(rows_per_task, block_q - row);
          tasks.push_back({b, head, q_block * block_q + row, rows, visits * rows});
        }
      }
    }
  }
  // The longest first, so that no thread is left with one of them at the end.
  std::ranges::stable_sort(tasks, std::ranges::greater(), &Task::visits);
  return tasks;
}

void ForwardPass::Run(const AttentionInputs& inputs, float soft_cap, const Tensor& out,
                      std::span<float> logsumexp, int threads, const Progress& progress) const {
  const std::vector<Task> tasks = MakeTasks(inputs.q.batch, kRowsPerTask);
  const int64_t scratch =
      ForwardScratch(std::min(kRowsPerTask, pass_.block.q), inputs.q.dim, inputs.v.dim);
  tbb::enumerable_thread_specific<Workspace> workspaces;
  std::atomic<size_t> next = 0;
  std::mutex reporting;
  RunWithThreads(threads, [&] {
    tbb::parallel_for(0, tbb::this_task_arena::max_concurrency(), [&](int) {
      Workspace& workspace = workspaces.local();
      for (size_t i = next++; i < tasks.size(); i = next++) {
        progress.ThrowIfStopped();
        if (!workspace.scratch) {
          workspace.scratch = AllocateBytes(scratch * static_cast<int64_t>(sizeof(float)));
        }
        RunTask(tasks[i], inputs, soft_cap, out, logsumexp, workspace);
        if (const std::unique_lock lock(reporting, std::try_to_lock); lock) {
          progress.Report(static_cast<double>(i + 1) / static_cast<double>(tasks.size()));
        }
      }
    });
  });
}

bool ForwardPass::ReadBounds(const Task& task, Workspace& workspace) const {
  workspace.lower.clear();
  workspace.upper.clear();
  for (int64_t row = task.first_row; row < task.first_row + task.rows; ++row) {
    computed_->ReadRuns(row, {0, plan_.mask.shape().kv_len}, &workspace.runs);
    if (workspace.runs.size() > 1) return false;
    const auto [begin, end] =
        workspace.runs.empty() ? splashmask::Run{0, 0} : workspace.runs.front();
    workspace.lower.push_back(static_cast<int32_t>(begin));
    workspace.upper.push_back(static_cast<int32_t>(end));
  }
  return true;
}

void ForwardPass::RunTask(const Task& task, const AttentionInputs& inputs, float soft_cap,
                          const Tensor& out, std::span<float> logsumexp,
                          Workspace& workspace) const {
  const MaskInfo& info = pass_.info;
  const BlockShape block = pass_.block;
  const int64_t entry = EntryOf(task.head), q_block = task.first_row / block.q;
  const bool bounded = computed_ && ReadBounds(task, workspace);
  std::optional<ComputedCells> computed;
  if (computed_) computed.emplace(*computed_, task.first_row);
  workspace.visits.clear();
  workspace.stored.clear();
  workspace.stored.reserve(static_cast<size_t>(info.block_mask->shape()[2]));  // Never moved.
  for (int64_t j = 0; j < info.block_mask->shape()[2]; ++j) {
    const int32_t block_class = info.block_mask->At(entry, q_block, j);
    if (block_class == 0) continue;
    Visit visit{info.data_next->At(entry, q_block, j) * block.kv, block.kv, false, nullptr};
    if (block_class == 1) {
      if (bounded) {
        visit.bounded = true;
      } else if (computed_) {
        visit.cells = &*computed;
      } else {
        visit.cells = &workspace.stored.emplace_back(
            *info.partial_mask_blocks, info.mask_next->At(entry, q_block, j),
            task.first_row - q_block * block.q, visit.kv_begin);
      }
    }
    workspace.visits.push_back(visit);
  }

  const int64_t kv_head = task.head / (inputs.q.heads / inputs.k.heads);
  ForwardTask work;
  work.rows = task.rows;
  work.dim = inputs.q.dim;
  work.dim_v = inputs.v.dim;
  work.q = FromRow(HeadOf(inputs.q, task.batch, task.head), task.first_row);
  work.k = HeadOf(inputs.k, task.batch, kv_head);
  work.v = HeadOf(inputs.v, task.batch, kv_head);
  work.visits = workspace.visits;
  if (bounded) {
    work.mask.lower = workspace.lower.data();
    work.mask.upper = workspace.upper.data();
  }
  if (inputs.segment_ids) {
    work.mask.q_segment_ids = inputs.segment_ids->q.data() + task.first_row;
    work.mask.kv_segment_ids = inputs.segment_ids->kv.data();
  }
  work.soft_cap = soft_cap;
  if (!inputs.sinks.empty()) work.sink = &inputs.sinks[static_cast<size_t>(task.head)];
  auto* const out_data = static_cast<std::byte*>(out.data) +
                         out.Offset(task.batch, task.head, task.first_row, 0) * FloatSize(out.type);
  work.out = {out_data, out.type, out.strides.length, out.strides.dim};
  if (!logsumexp.empty()) {
    work.logsumexp = logsumexp.data() +
                     (task.batch * inputs.q.heads + task.head) * inputs.q.length + task.first_row;
  }
  RunForward(work, reinterpret_cast<float*>(workspace.scratch.get()));
}

}  // namespace splashmask::fast
