// SPDX-License-Identifier: Apache-2.0
#pragma once
// Another program, spoken to line by line.

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace splashmask::cli {

/// Runs while the object lives. Its standard input and output are ours; what it says on standard
/// error is lost.
class ChildProcess {
 public:
  /// `command` is found as a shell would find it. Throws kIo when it cannot be started.
  explicit ChildProcess(const std::vector<std::string>& command);
  /// Ends it, and what it has started.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Nothing happens when nobody reads any more: then there is no line to read, either.
  void WriteLine(const std::string& line);
  /// Waits until a line can be read, or there are no more, but not beyond `deadline`: then it is
  /// false. Throws kCancelled soon after `stop`.
  bool AwaitLine(const std::atomic<bool>& stop, std::chrono::steady_clock::time_point deadline);
  /// Without its end; nullopt when there are no more. Throws kCancelled soon after `stop`.
  std::optional<std::string> ReadLine(const std::atomic<bool>& stop);

 private:
  pid_t pid_ = -1;
  int to_ = -1, from_ = -1;
  bool has_ended_ = false;
  std::string unread_;
};

}  // namespace splashmask::cli
