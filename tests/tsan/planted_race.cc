// SPDX-License-Identifier: Apache-2.0
// Two TBB tasks that write one variable, after writes that TBB does order: ThreadSanitizer must
// report the race and nothing else.

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

int main() {
  const tbb::global_control two_threads(tbb::global_control::max_allowed_parallelism, 2);
  std::atomic<int> arrived{0};
  // Each task waits for the other, so that two threads take part; relaxed, so that it orders
  // nothing.
  const auto meet = [&](int tasks) {
    arrived.fetch_add(1, std::memory_order_relaxed);
    while (arrived.load(std::memory_order_relaxed) < tasks) std::this_thread::yield();
  };

  std::vector<int> ordered(2, 0);
  tbb::parallel_for(0, 2, [&](int i) {
    meet(2);
    ordered[i] = i + 1;
  });
  if (ordered[0] + ordered[1] != 3) return 1;
  std::puts("ordered writes done");
  std::fflush(stdout);

  int racing = 0;
  tbb::parallel_for(0, 2, [&](int i) {
    meet(4);
    racing = i;
  });
  std::printf("%d\n", racing);
  return 0;
}
