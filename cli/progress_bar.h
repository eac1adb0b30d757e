// SPDX-License-Identifier: Apache-2.0
#pragma once
// A line on standard error that shows how far a long call is.

#include <atomic>
#include <chrono>
#include <string>

#include "splashmask/planner/progress.h"

namespace splashmask::cli {

/// Shows nothing when standard error is no terminal, or while the work is younger than half a
/// second; redrawn in place, and wiped by the destructor.
class ProgressBar {
 public:
  explicit ProgressBar(const std::atomic<bool>& stop) : stop_(stop) {}
  ~ProgressBar() { Wipe(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// What to hand to a call. `label` says what it does; the bar must outlive the call.
  Progress Step(std::string label);
  /// Clears the line, before other text goes to the terminal.
  void Wipe();

 private:
  using Clock = std::chrono::steady_clock;

  void Draw(const std::string& label, double done);

  const std::atomic<bool>& stop_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point drawn_at_{};
  bool is_drawn_ = false;
};

/// One drawn line, for example "compile  ████████░░░░░░░░  50 %".
std::string ProgressLine(const std::string& label, double done);

}  // namespace splashmask::cli
