// SPDX-License-Identifier: Apache-2.0
#pragma once
// What main knows of a command.

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>

#include "splashmask/masks/error.h"

namespace splashmask::cli {

/// The exit codes of every command.
enum ExitCode {
  kDone = 0,
  kAnswerIsNo = 1,
  kUnusableInput = 2,
  kDamagedOrIo = 3,
  kInterrupted = 130,
};

ExitCode ExitCodeOf(ErrorCode code);

struct Command {
  CLI::App* arguments = nullptr;
  /// Does the work once the arguments are parsed; gives up soon after `stop` becomes true. Throws
  /// Error.
  std::function<ExitCode(const std::atomic<bool>& stop)> run;
};

/// An option that takes a whole number: decimal digits, exact in 64 bits (CLI11 itself saturates,
/// and reads 010 as 8). Other text is a parse error, and so is a number outside [least, most].
CLI::Option* AddInteger(CLI::App& command, const std::string& name, const std::string& help,
                        std::function<void(int64_t)> store, int64_t least,
                        int64_t most = std::numeric_limits<int64_t>::max());

/// Each adds one command to `app`.
Command AddCompile(CLI::App& app);
Command AddInspect(CLI::App& app);
Command AddShow(CLI::App& app);
Command AddVerify(CLI::App& app);

}  // namespace splashmask::cli
