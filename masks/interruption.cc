// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/interruption.h"

#include <utility>

namespace splashmask {

namespace {
thread_local InterruptionCheck* current = nullptr;
}  // namespace

InterruptionCheck::InterruptionCheck(std::function<void()> check)
    : check_(std::move(check)), before_(std::exchange(current, this)) {}

InterruptionCheck::~InterruptionCheck() { current = before_; }

void InterruptionCheck::Run() {
  if (current != nullptr) current->check_();
}

}  // namespace splashmask
