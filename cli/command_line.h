// SPDX-License-Identifier: Apache-2.0
#pragma once
// Commands, what each takes, and which one is meant. CLI11 stands behind it, in one file: it takes
// long to compile.

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/exit_code.h"

namespace CLI {
class App;
}

namespace splashmask::cli {

/// Throws kInvalidArgument, "[arguments] " and the message: what the arguments ask for together
/// cannot be done.
[[noreturn]] void ThrowUnusable(const std::string& message);

struct IntegerRange {
  int64_t least = 1;
  int64_t most = std::numeric_limits<int64_t>::max();
};

/// What one command takes. A value that is handed in by reference is set while parsing, and has to
/// be there still.
class CommandSyntax {
 public:
  explicit CommandSyntax(CLI::App& app) : app_(app) {}

  /// What stands without a name, and must be there.
  void Positional(const std::string& name, std::string& value, const std::string& help);
  /// The same, where it may be left out.
  void Positional(const std::string& name, std::optional<std::string>& value,
                  const std::string& help);
  /// Any number of them.
  void Positionals(const std::string& name, std::vector<std::string>& values,
                   const std::string& help);
  void Text(const std::string& name, const std::string& type, std::optional<std::string>& value,
            const std::string& help);
  /// Any number of times.
  void Texts(const std::string& name, const std::string& type, std::vector<std::string>& values,
             const std::string& help);
  /// One of `choices`.
  void Choice(const std::string& name, const std::string& type, std::string& value,
              const std::vector<std::string>& choices, const std::string& help);
  /// Some of `choices`, separated by commas.
  void Choices(const std::string& name, const std::string& type, std::vector<std::string>& values,
               const std::vector<std::string>& choices, const std::string& help);
  /// Whole numbers, separated by commas.
  void Integers(const std::string& name, std::vector<int64_t>& values, const std::string& help,
                IntegerRange range = {});
  void Flag(const std::string& name, bool& value, const std::string& help);

  /// A whole number: decimal digits, exact in 64 bits (CLI11 itself saturates, and reads 010 as 8).
  template <typename Value>
  void Integer(const std::string& name, Value& value, const std::string& help,
               IntegerRange range = {}) {
    AddInteger(name, help, range, false,
               [&value](int64_t given) { value = AsValue(value, given); });
  }
  template <typename Value>
  void RequiredInteger(const std::string& name, Value& value, const std::string& help,
                       IntegerRange range = {}) {
    AddInteger(name, help, range, true, [&value](int64_t given) { value = AsValue(value, given); });
  }

 private:
  template <typename T>
  static T AsValue(const T&, int64_t given) {
    return static_cast<T>(given);
  }
  template <typename T>
  static T AsValue(const std::optional<T>&, int64_t given) {
    return static_cast<T>(given);
  }
  void AddInteger(const std::string& name, const std::string& help, IntegerRange range,
                  bool is_required, std::function<void(int64_t)> store);

  CLI::App& app_;
};

class CommandLine {
 public:
  /// What a command does once the arguments are parsed; gives up soon after `stop` becomes true.
  /// Throws Error.
  using Run = std::function<ExitCode(const std::atomic<bool>& stop)>;

  CommandLine(const std::string& help, const std::string& more, const std::string& version);
  ~CommandLine();

  /// `more` follows the arguments in the command's help. `name` may be two words: a group, which
  /// AddGroup has made, and a command in it.
  CommandSyntax Add(const std::string& name, const std::string& help, const std::string& more,
                    Run run);

  void AddGroup(const std::string& name, const std::string& help);

  /// What the arguments ask for: one of the three.
  struct Request {
    Run run;              ///< A command.
    std::string output;   ///< A text: --help or --version.
    std::string problem;  ///< Nothing that is known. The nearest known name is told.
  };
  Request Parse(int argc, const char* const* argv);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace splashmask::cli
