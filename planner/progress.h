// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long work tells how far it is, and how it is told to stop.

#include <atomic>
#include <functional>

namespace splashmask {

/// Handed to every call that can take long. Both members are optional.
struct Progress {
  /// Called now and then with the share done, in [0, 1], from one thread at a time.
  std::function<void(double)> report;
  /// When it becomes true the call throws Error{kCancelled} soon, leaving nothing behind.
  const std::atomic<bool>* stop = nullptr;

  void Report(double done) const {
    if (report) report(done);
  }
  /// For a part of the work, [begin, end) of its share. Borrows this.
  Progress Part(double begin, double end) const {
    Progress part;
    part.stop = stop;
    if (report) {
      part.report = [this, begin, end](double done) { report(begin + done * (end - begin)); };
    }
    return part;
  }
  bool Stopped() const { return stop != nullptr && stop->load(std::memory_order_relaxed); }
  /// Throws Error{kCancelled} when the caller asked to stop.
  void ThrowIfStopped() const;
};

}  // namespace splashmask
