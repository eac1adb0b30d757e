// SPDX-License-Identifier: Apache-2.0
#pragma once
// The steps of a grid, shared out to threads by what they write. Private to kernels/.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "splashmask/kernels/grid.h"
#include "splashmask/planner/progress.h"
#include "splashmask/planner/threads.h"

namespace splashmask::trace {

/// Calls work(i) for i < count on all threads, and reports how far it is.
template <typename Work>
void ForEachTask(int64_t count, int threads, const Progress& progress, const Work& work) {
  std::atomic<int64_t> done = 0;
  std::mutex reporting;
  RunWithThreads(threads, [&] {
    tbb::parallel_for(int64_t{0}, count, [&](int64_t i) {
      progress.ThrowIfStopped();
      work(i);
      const int64_t so_far = ++done;
      if (const std::unique_lock lock(reporting, std::try_to_lock); lock) {
        progress.Report(static_cast<double>(so_far) / static_cast<double>(count));
      }
    });
  });
}

/// Some rows of a q block: they see the same steps, and nothing of each other.
struct RowsOfStep {
  int64_t batch = 0, head = 0, first = 0, count = 0;
  int64_t head_shard = 0, q_shard = 0;
  std::array<int64_t, 3> program{};

  GridStep Step(const Grid& grid, int64_t j) const {
    return grid.At(head_shard, q_shard, {program[0], program[1], j});
  }
};

/// Calls work(rows) for all rows of the grid of fwd or dq.
template <typename Work>
void ForEachRows(const Grid& grid, int64_t block_q, int64_t batch, int threads,
                 const Progress& progress, const Work& work) {
  constexpr int64_t kRows = 128;
  const int64_t heads = grid.shape()[0], q_blocks = grid.shape()[1];
  const int64_t parts = (block_q + kRows - 1) / kRows;
  const int64_t q_blocks_of_all = q_blocks * grid.q_seq_shards();
  const int64_t heads_of_all = heads * grid.head_shards();
  ForEachTask(batch * heads_of_all * q_blocks_of_all * parts, threads, progress, [&](int64_t i) {
    RowsOfStep rows;
    const int64_t part = i % parts, q_block = i / parts % q_blocks_of_all;
    rows.head = i / parts / q_blocks_of_all % heads_of_all;
    rows.batch = i / parts / q_blocks_of_all / heads_of_all;
    rows.first = q_block * block_q + part * kRows;
    rows.count = std::min(kRows, block_q - part * kRows);
    rows.head_shard = rows.head / heads;
    rows.q_shard = q_block / q_blocks;
    rows.program = {rows.head % heads, q_block % q_blocks, 0};
    work(rows);
  });
}

}  // namespace splashmask::trace
