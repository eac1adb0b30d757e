// SPDX-License-Identifier: Apache-2.0
// splashmask compile: mask text -> plan file.

#include "splashmask/planner/compile/compile.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/compile_arguments.h"
#include "splashmask/cli/empty_lines.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/savings_report.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/arrays.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/simplify.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::string mask;
  int64_t q_len = 0;
  std::optional<int64_t> kv_len, heads;
  CompileArguments compile;
  std::string empty_rows = "warn";
  int threads = 0;
  std::optional<std::string> output;
  bool json = false;
};

constexpr const char* kHelp = "Compile a mask to block tables, as JAX does, into a plan file";

constexpr const char* kMore =
    R"(Without -o the tables are compiled and described, and nothing is written.

A mask is built from full() empty() causal(offset) local(left, right, offset)
chunked_causal(chunk) prefix(n) q_range(a, b) kv_range(a, b) stride(step, phase)
documents([lengths]) segments("ids.npy", pad=0) blocks("bits.npy", block)
dense("mask.npy") where("q >= kv and (q - kv) % 64 < 8")
reorder(mask, q=..., kv=...), joined with Python's ~ & | ^ - and ( ).
[causal() * 8, local(1023, 0) * 24] gives each head its own. Files are looked for
in the current directory. A model's "window of w" is local(w - 1, 0).

Examples:
  splashmask compile 'causal()' --q-len 131072 --heads 32 -o llama.h5
  splashmask compile 'causal() & local(1023, 0)' --q-len 32768 --block-q 1024 -o gemma.h5
  splashmask compile 'causal() & segments("ids.npy", pad=0)' --q-len 16384 --json)";

MultiHeadMask ParseMaskArgument(const Arguments& arguments) {
  const Shape shape{arguments.q_len, arguments.kv_len.value_or(arguments.q_len)};
  return ParseMultiHeadMask(arguments.mask, shape, arguments.heads.value_or(0), FileResolver());
}

/// Empty rows as --empty-rows wants them: an error, notes on standard error, or not looked for.
std::vector<EmptyLinesOfHeads> CheckEmptyRows(const Arguments& arguments,
                                              const MultiHeadMask& mask) {
  if (arguments.empty_rows == "allow") return {};
  std::vector<EmptyLinesOfHeads> empty = FindEmptyRows(mask, arguments.threads);
  if (empty.empty()) return empty;
  std::string text;
  for (const EmptyLinesOfHeads& group : empty) {
    text += (text.empty() ? "" : "\n") + EmptyRowsText(group, mask.num_heads());
  }
  if (arguments.empty_rows == "error") {
    throw Error(ErrorCode::kInvalidArgument,
                "[empty rows] expected every row to attend to something, got: " + text);
  }
  WriteStderr("note: " + text + "; JAX's kernel gives NaN or the mean of v there\n");
  return empty;
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar(stop);
  CompileOptions options = CompileOptionsOf(arguments.compile);
  options.threads = arguments.threads;
  options.progress = bar.Step("compile");
  const MultiHeadMask mask = ParseMaskArgument(arguments);
  // Before the rows, as it refuses what is too large for anything.
  const Plan plan = Compile(mask, options);
  std::optional<SimplifySavings> savings;
  if (options.plan.simplify) {
    savings = FindSavings(plan, arguments.threads, bar.Step("compare"));
  }
  bar.Wipe();
  const std::vector<EmptyLinesOfHeads> empty = CheckEmptyRows(arguments, mask);
  const PlanDigests digests = ComputeDigests(plan);
  std::optional<int64_t> file_bytes;
  if (arguments.output) {
    WritePlan(plan, *arguments.output, bar.Step("write"));
    file_bytes = static_cast<int64_t>(std::filesystem::file_size(*arguments.output));
  }
  bar.Wipe();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  if (arguments.json) {
    json::object result = PlanJson(plan);
    result["digests"] = DigestsJson(digests);
    result["empty_rows"] =
        arguments.empty_rows == "allow" ? json::value(nullptr) : json::value(EmptyRowsJson(empty));
    result["file"] = file_bytes ? json::value(*arguments.output) : json::value(nullptr);
    result["file_bytes"] = file_bytes ? json::value(*file_bytes) : json::value(nullptr);
    result["simplified"] = savings ? json::value(ToString(Simplify(mask))) : json::value(nullptr);
    result["savings"] = savings ? json::value(SavingsJson(*savings)) : json::value(nullptr);
    result["seconds"] = seconds;
    WriteStdout(ToLine(result));
    return kDone;
  }
  std::string text = fmt::format("mask    {}\n", ToString(mask));
  if (savings) {
    text +=
        fmt::format("simple  {}\nsaved   {}\n", ToString(Simplify(mask)), SavingsText(*savings));
  }
  text += fmt::format("shape   {}\ndigest  {}\n\n{}\n", ShapeText(mask), digests.plan_digest,
                      PassesText(plan));
  text += file_bytes ? fmt::format("wrote {} ({}); {}\n", *arguments.output, Bytes(*file_bytes),
                                   Duration(seconds))
                     : fmt::format("nothing written (no -o); {}\n", Duration(seconds));
  WriteStdout(text);
  return kDone;
}

}  // namespace

void AddCompile(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax =
      line.Add("compile", kHelp, kMore,
               [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); });
  Arguments& a = *arguments;
  syntax.Positional("MASK", a.mask, "The mask's text form, or a list of one mask a head");
  syntax.RequiredInteger("--q-len", a.q_len, "Number of q positions");
  syntax.Integer("--kv-len", a.kv_len, "Number of kv positions (default: --q-len)");
  syntax.Integer("--heads", a.heads, "Number of heads (default: as many as MASK says, else 1)");
  AddCompileArguments(syntax, a.compile);
  syntax.Choice("--empty-rows", "WHAT", a.empty_rows, {"error", "warn", "allow"},
                "Rows that attend to nothing: error, warn or allow (default: warn)");
  syntax.Integer("--threads", a.threads, "Threads to use (default: 0, all)", {0, 1024});
  syntax.Text("-o,--output", "FILE", a.output, "The plan file to write");
  syntax.Flag("--json", a.json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
