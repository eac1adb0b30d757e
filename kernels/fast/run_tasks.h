// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tasks for all threads. Private to kernels/.

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "splashmask/planner/memory.h"
#include "splashmask/planner/progress.h"
#include "splashmask/planner/threads.h"

namespace splashmask::fast {

/// Calls run(task, workspace, scratch) for every one of `tasks`; each thread takes the next one
/// when it has done its own. A thread has one Workspace and `scratch_floats` floats, aligned to 64
/// bytes.
template <typename Workspace, typename Tasks, typename Run>
void RunTasks(const Tasks& tasks, int64_t scratch_floats, int threads, const Progress& progress,
              const Run& run) {
  struct OfThread {
    Workspace workspace;
    std::shared_ptr<std::byte> scratch;
  };
  tbb::enumerable_thread_specific<OfThread> of_threads;
  std::atomic<size_t> next = 0;
  std::mutex reporting;
  RunWithThreads(threads, [&] {
    tbb::parallel_for(0, tbb::this_task_arena::max_concurrency(), [&](int) {
      OfThread& mine = of_threads.local();
      if (!mine.scratch) {
        mine.scratch = AllocateBytes(scratch_floats * static_cast<int64_t>(sizeof(float)));
      }
      // Whoever takes a task ends it: others may wait for what it writes.
      for (;;) {
        progress.ThrowIfStopped();
        const size_t i = next++;
        if (i >= tasks.size()) break;
        run(tasks[i], mine.workspace, reinterpret_cast<float*>(mine.scratch.get()));
        if (const std::unique_lock lock(reporting, std::try_to_lock); lock) {
          progress.Report(static_cast<double>(i + 1) / static_cast<double>(tasks.size()));
        }
      }
    });
  });
}

}  // namespace splashmask::fast
