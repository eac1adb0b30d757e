// SPDX-License-Identifier: Apache-2.0
#pragma once
// How a command ends.

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

}  // namespace splashmask::cli
