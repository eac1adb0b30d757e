// SPDX-License-Identifier: Apache-2.0
#pragma once
// How the making of a mask, which seldom takes long, is told to stop.

#include <chrono>
#include <functional>

namespace splashmask {

/// While it lives, factories of masks that this thread calls run `check` every few milliseconds
/// where they take long: `where` and reorderings of it, to show that a predicate fails nowhere.
/// What `check` throws ends them and reaches their caller. The last one made on a thread counts.
class InterruptionCheck {
 public:
  explicit InterruptionCheck(std::function<void()> check);
  ~InterruptionCheck();
  InterruptionCheck(const InterruptionCheck&) = delete;
  InterruptionCheck& operator=(const InterruptionCheck&) = delete;

  /// Runs this thread's check, if there is one and its time has come.
  static void Run();

 private:
  std::function<void()> check_;
  std::chrono::steady_clock::time_point next_;
  InterruptionCheck* before_;
};

}  // namespace splashmask
