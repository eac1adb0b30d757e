// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/error.h"

namespace splashmask {

std::string_view ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "InvalidArgument";
    case ErrorCode::kSyntax:
      return "Syntax";
    case ErrorCode::kInvalidArray:
      return "InvalidArray";
    case ErrorCode::kNotFound:
      return "NotFound";
    case ErrorCode::kTooLarge:
      return "TooLarge";
    case ErrorCode::kNewerFormat:
      return "NewerFormat";
    case ErrorCode::kNotAPlan:
      return "NotAPlan";
    case ErrorCode::kDamaged:
      return "Damaged";
    case ErrorCode::kIo:
      return "Io";
    case ErrorCode::kCancelled:
      return "Cancelled";
  }
  return "Unknown";
}

}  // namespace splashmask
