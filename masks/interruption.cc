// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/interruption.h"

#include <utility>

namespace splashmask {

namespace {
thread_local InterruptionCheck* current = nullptr;

constexpr std::chrono::milliseconds kBetween{5};
}  // namespace

InterruptionCheck::InterruptionCheck(std::function<void()> check)
    : check_(std::move(check)),
      next_(std::chrono::steady_clock::now() + kBetween),
      before_(std::exchange(current, this)) {}

InterruptionCheck::~InterruptionCheck() { current = before_; }

void InterruptionCheck::Run() {
  if (current == nullptr) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < current->next_) return;
  current->next_ = now + kBetween;
  current->check_();
}

}  // namespace splashmask
