// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs parallel work with a chosen number of threads. Private to the project.

#include <tbb/global_control.h>
#include <tbb/info.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace splashmask {

/// How many threads `threads` asks for: 0 is as many as the machine has.
inline int CountThreads(int threads) {
  return threads > 0 ? threads : tbb::info::default_concurrency();
}

/// Until then this thread does ParallelFor's work alone: a small mask is compiled before another
/// thread could have been woken.
inline thread_local std::chrono::steady_clock::time_point alone_until{};

/// Calls `work` inside a TBB arena of CountThreads(threads) threads. More threads than processors
/// are allowed (up to 256): no result here depends on their number.
template <typename Work>
void RunWithThreads(int threads, const Work& work) {
  // Without this, TBB has only as many workers as processors, and prints a warning. It is never
  // taken back, as concurrent callers would otherwise lower the limit under each other.
  constexpr int kMostThreads = 256;
  static const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                         kMostThreads);
#ifdef __SANITIZE_THREAD__
  constexpr std::chrono::microseconds kAlone{0};  // Every piece of work gets its chance to race.
#else
  constexpr std::chrono::microseconds kAlone{100};
#endif
  tbb::task_arena arena(std::min(CountThreads(threads), kMostThreads));
  arena.execute([&] {
    alone_until = std::chrono::steady_clock::now() + kAlone;
    work();
  });
}

/// Calls work(i) for every i of [0, count), on the arena's threads.
template <typename Work>
void ParallelFor(int64_t count, const Work& work) {
  int64_t begin = 0;
  while (begin < count && std::chrono::steady_clock::now() < alone_until) work(begin++);
  if (begin < count) tbb::parallel_for(begin, count, work);
}

}  // namespace splashmask
