// SPDX-License-Identifier: Apache-2.0
#pragma once
// Long work that Ctrl-C ends.

#include <nanobind/nanobind.h>

#include <atomic>
#include <thread>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/masks/interruption.h"
#include "splashmask/planner/progress.h"

namespace splashmask::python {

/// Calls work(progress) without the GIL. A signal that arrives meanwhile ends it with the exception
/// that Python makes of the signal (KeyboardInterrupt).
template <typename Work>
auto RunInterruptibly(Work&& work) {
  std::atomic<bool> stop = false;
  const std::thread::id caller = std::this_thread::get_id();
  Progress progress;
  progress.stop = &stop;
  // Only the thread that holds Python's state may ask for signals.
  progress.report = [&](double) {
    if (std::this_thread::get_id() != caller) return;
    const nanobind::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) stop = true;
  };
  const auto released = [&] {
    const nanobind::gil_scoped_release without;
    const InterruptionCheck check([&] {
      progress.Report(0);
      progress.ThrowIfStopped();
    });
    return work(std::as_const(progress));
  };
  try {
    auto result = released();
    // The signal came so late that nothing was left to stop.
    if (PyErr_Occurred()) nanobind::raise_python_error();
    return result;
  } catch (const Error&) {
    if (PyErr_Occurred()) nanobind::raise_python_error();
    throw;
  }
}

}  // namespace splashmask::python
