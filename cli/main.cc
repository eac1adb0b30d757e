// SPDX-License-Identifier: Apache-2.0
// The splashmask command: finds the command that is meant, runs it, and turns how it went into an
// exit code and a message.

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <exception>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "splashmask/cli/command.h"
#include "splashmask/cli/parse_error.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/masks/error.h"

namespace splashmask::cli {

namespace {

constexpr const char* kHelp =
    "Attention masks compiled to the block tables of JAX's splash attention, exactly.";

constexpr const char* kExamples = R"(Examples:
  splashmask compile 'causal() & local(1023, 0)' --q-len 32768 --heads 16 -o gemma.h5
  splashmask show gemma.h5
  splashmask verify gemma.h5

`splashmask compile --help` lists the masks. Every command takes --json.
Exit codes: 0 done, 1 the answer is no, 2 unusable input or arguments,
3 a damaged plan file or failed I/O, 130 interrupted.)";

void Complain(const std::string& message) { WriteStderr("splashmask: " + message + "\n"); }

/// What CLI11 makes of arguments that it does not take.
ExitCode ReportParseError(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) {
    // --help and --version come this way too.
    std::ostringstream out;
    app.exit(error, out, out);
    WriteStdout(out.str());
    return kDone;
  }
  Complain(ExplainParseError(app, error));
  return kUnusableInput;
}

ExitCode RunCommand(int argc, char** argv) {
  const std::atomic<bool>& stop = CatchInterrupt();
  CLI::App app(kHelp, "splashmask");
  app.footer(kExamples);
  app.set_version_flag("--version", "splashmask " SPLASHMASK_VERSION);
  app.require_subcommand(1);
  const std::vector<Command> commands = {AddCompile(app), AddInspect(app), AddShow(app),
                                         AddVerify(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return ReportParseError(app, error);
  }
  for (const Command& command : commands) {
    if (command.arguments->parsed()) return command.run(stop);
  }
  return kUnusableInput;
}

ExitCode Main(int argc, char** argv) {
  PrepareStandardStreams();
  try {
    return RunCommand(argc, argv);
  } catch (const Error& error) {
    Complain(error.code() == ErrorCode::kCancelled ? "interrupted" : error.what());
    return ExitCodeOf(error.code());
  } catch (const std::bad_alloc&) {
    Complain("out of memory");
    return kUnusableInput;
  } catch (const std::exception& error) {
    Complain(error.what());
    return kDamagedOrIo;
  }
}

}  // namespace

}  // namespace splashmask::cli

int main(int argc, char** argv) {
  const splashmask::cli::ExitCode code = splashmask::cli::Main(argc, argv);
  // HDF5 loses memory when it meets damage, and on the usual way out it would complain of that.
  if (code == splashmask::cli::kDamagedOrIo) std::quick_exit(code);
  return code;
}
