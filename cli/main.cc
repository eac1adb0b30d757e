// SPDX-License-Identifier: Apache-2.0
// The splashmask command: finds the command that is meant, runs it, and turns how it went into an
// exit code and a message.

#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include "splashmask/cli/command_line.h"
#include "splashmask/cli/commands.h"
#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/interruption.h"
#include "splashmask/planner/progress.h"

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

ExitCode RunCommand(int argc, const char* const* argv) {
  const std::atomic<bool>& stop = CatchInterrupt();
  const Progress progress{{}, &stop};
  const InterruptionCheck check([&] { progress.ThrowIfStopped(); });
  CommandLine line(kHelp, kExamples, "splashmask " SPLASHMASK_VERSION);
  AddCompile(line);
  AddDiff(line);
  AddExplain(line);
  AddInspect(line);
  AddPlan(line);
  AddRun(line);
  AddShow(line);
  AddVerify(line);
  line.AddGroup("bench", "Time what we do beside what others do");
  AddBenchAttention(line);
  AddBenchCompile(line);
  const CommandLine::Request request = line.Parse(argc, argv);
  if (request.run) return request.run(stop);
  if (!request.problem.empty()) {
    Complain(request.problem);
    return kUnusableInput;
  }
  WriteStdout(request.output);
  return kDone;
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
