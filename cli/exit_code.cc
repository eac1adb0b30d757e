// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/exit_code.h"

namespace splashmask::cli {

ExitCode ExitCodeOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kSyntax:
    case ErrorCode::kInvalidArray:
    case ErrorCode::kNotFound:
    case ErrorCode::kTooLarge:
    case ErrorCode::kNewerFormat:
    case ErrorCode::kNotAPlan:
      return kUnusableInput;
    case ErrorCode::kDamaged:
    case ErrorCode::kIo:
      return kDamagedOrIo;
    case ErrorCode::kCancelled:
      return kInterrupted;
  }
  return kDamagedOrIo;
}

}  // namespace splashmask::cli
