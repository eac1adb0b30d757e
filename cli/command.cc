// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/command.h"

#include <fmt/format.h>

#include <charconv>
#include <system_error>
#include <utility>

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

CLI::Option* AddInteger(CLI::App& command, const std::string& name, const std::string& help,
                        std::function<void(int64_t)> store, int64_t least, int64_t most) {
  const auto parse = [name, store = std::move(store), least, most](const std::string& text) {
    int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [parsed_to, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc::result_out_of_range && parsed_to == end) {
      throw CLI::ValidationError(name, fmt::format("expected at most 64 bits, got {}", text));
    }
    if (error != std::errc() || parsed_to != end) {
      throw CLI::ValidationError(name, fmt::format("expected a whole number, got '{}'", text));
    }
    if (value < least) {
      throw CLI::ValidationError(name, fmt::format("expected at least {}, got {}", least, text));
    }
    if (value > most) {
      throw CLI::ValidationError(name, fmt::format("expected at most {}, got {}", most, text));
    }
    store(value);
  };
  return command.add_option_function<std::string>(name, parse, help)->type_name("N");
}

}  // namespace splashmask::cli
