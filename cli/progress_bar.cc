// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/progress_bar.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "splashmask/cli/terminal.h"

namespace splashmask::cli {

namespace {

constexpr auto kPatience = std::chrono::milliseconds(500);
constexpr auto kBetweenDrawings = std::chrono::milliseconds(80);
constexpr const char* kWipeLine = "\r\x1b[K";

}  // namespace

std::string ProgressLine(const std::string& label, double done) {
  constexpr int kCells = 32;
  done = std::clamp(done, 0.0, 1.0);
  const int filled = static_cast<int>(done * kCells);
  std::string bar;
  for (int i = 0; i < kCells; ++i) bar += i < filled ? "█" : "░";
  return fmt::format("{} {} {:3d} %", label, bar, static_cast<int>(done * 100));
}

void ProgressBar::Wipe() {
  if (is_drawn_) WriteStderr(kWipeLine);
  is_drawn_ = false;
}

Progress ProgressBar::Step(std::string label) {
  Progress progress;
  progress.stop = &stop_;
  if (StderrIsTerminal()) {
    progress.report = [this, label = std::move(label)](double done) { Draw(label, done); };
  }
  return progress;
}

void ProgressBar::Draw(const std::string& label, double done) {
  const Clock::time_point now = Clock::now();
  if (now - start_ < kPatience || now - drawn_at_ < kBetweenDrawings) return;
  drawn_at_ = now;
  is_drawn_ = true;
  WriteStderr(kWipeLine + ProgressLine(label, done));
}

}  // namespace splashmask::cli
