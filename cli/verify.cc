// SPDX-License-Identifier: Apache-2.0
// splashmask verify: does a plan file say what its mask says?

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/command.h"
#include "splashmask/cli/empty_lines.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/tokamax_mismatch.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::string file;
  bool ignore_seal = false;
  bool json = false;
};

constexpr const char* kHelp = "Prove that a plan file says exactly what its mask says";

constexpr const char* kMore =
    R"(The seal and the digests hold, and every entry and every bit of every table follows from the
mask, cell by cell. Lists in tokamax's dialect are compiled anew and compared. Ends with 0 when
that is so, 1 when a table is wrong, 3 when the file is damaged.

Examples:
  splashmask verify llama.h5
  splashmask verify edited.h5 --ignore-seal --json)";

/// What has been found out about the tables.
struct Findings {
  Certificate certificate;
  std::optional<TokamaxMismatch> tokamax_mismatch;

  bool has_mismatch() const { return certificate.mismatch || tokamax_mismatch; }
  std::string MismatchText() const {
    return certificate.mismatch ? certificate.mismatch->ToString() : tokamax_mismatch->ToString();
  }
};

/// "fwd, dkv; 4,096 cells, 12 entries; tokamax/fwd compiled anew": what was looked at, and how.
std::string EvidenceText(const Plan& plan, const Certificate& certificate) {
  std::string proven, compiled;
  for (const Pass pass : kAllPasses) {
    if (plan.pass(pass)) proven += (proven.empty() ? "" : ", ") + std::string(PassName(pass));
  }
  for (const Pass pass : kTokamaxPasses) {
    if (!plan.tokamax_pass(pass)) continue;
    compiled += fmt::format("{}tokamax/{}", compiled.empty() ? "" : ", ", PassName(pass));
  }
  if (!compiled.empty()) compiled += " compiled anew";
  if (proven.empty() && !compiled.empty()) return compiled;
  return fmt::format("{}; {} cells, {} entries{}{}", proven, Grouped(certificate.cells),
                     Grouped(certificate.entries), compiled.empty() ? "" : "; ", compiled);
}

/// The heads that have the mask of head `first`.
std::vector<int64_t> HeadsLike(const MultiHeadMask& mask, int64_t first) {
  const std::vector<Mask>& masks = mask.masks();
  std::vector<int64_t> heads;
  for (int64_t head = first; head < mask.num_heads(); ++head) {
    const bool is_alike = masks[static_cast<size_t>(head)] == masks[static_cast<size_t>(first)];
    if (is_alike) heads.push_back(head);
  }
  return heads;
}

/// Notes on what no table can get wrong but a kernel trips over.
std::string EmptyLinesText(const MultiHeadMask& mask, const Certificate& certificate) {
  std::string text;
  for (const EmptyLines& lines : certificate.empty) {
    const EmptyLinesOfHeads rows{HeadsLike(mask, lines.head), lines.rows};
    const EmptyLinesOfHeads columns{rows.heads, lines.columns};
    if (!lines.rows.empty()) {
      text += fmt::format("note: {}\n", EmptyRowsText(rows, mask.num_heads()));
    }
    if (!lines.columns.empty()) {
      text += fmt::format("note: {}\n", EmptyColumnsText(columns, mask.num_heads()));
    }
  }
  return text;
}

json::array EmptyLinesJson(const MultiHeadMask& mask, const Certificate& certificate) {
  json::array result;
  for (const EmptyLines& lines : certificate.empty) {
    const std::vector<int64_t> heads = HeadsLike(mask, lines.head);
    result.push_back({{"heads", json::array(heads.begin(), heads.end())},
                      {"rows", RangesJson(lines.rows)},
                      {"columns", RangesJson(lines.columns)}});
  }
  return result;
}

json::value MismatchJson(const Findings& findings) {
  if (const std::optional<Mismatch>& mismatch = findings.certificate.mismatch) {
    const auto position = [](const std::optional<int64_t>& value) {
      return value ? json::value(*value) : json::value(nullptr);
    };
    return json::object{{"pass", PassName(mismatch->pass)},
                        {"table", mismatch->table},
                        {"index", json::array(mismatch->index.begin(), mismatch->index.end())},
                        {"head", position(mismatch->head)},
                        {"q", position(mismatch->q)},
                        {"kv", position(mismatch->kv)},
                        {"expected", mismatch->expected},
                        {"got", mismatch->got}};
  }
  if (const std::optional<TokamaxMismatch>& mismatch = findings.tokamax_mismatch) {
    return json::object{{"pass", mismatch->PassPath()},
                        {"table", mismatch->table},
                        {"index", json::array(mismatch->index.begin(), mismatch->index.end())},
                        {"head", nullptr},
                        {"q", nullptr},
                        {"kv", nullptr},
                        {"expected", mismatch->expected},
                        {"got", mismatch->got}};
  }
  return nullptr;
}

/// Writes the answer, and says how it ends: a wrong table is a no; a digest that is not the plan's
/// own is damage, which --ignore-seal does not cover.
ExitCode Report(const Arguments& arguments, const LoadedPlan& loaded, const Findings& findings,
                double seconds) {
  const Certificate& certificate = findings.certificate;
  const ExitCode code = findings.has_mismatch()        ? kAnswerIsNo
                        : !loaded.digest_error.empty() ? kDamagedOrIo
                                                       : kDone;
  const bool seal_broken = loaded.seal == SealState::kBroken;
  if (arguments.json) {
    WriteStdout(ToLine({{"ok", code == kDone},
                        {"file", arguments.file},
                        {"seal", SealName(loaded.seal)},
                        {"error", loaded.digest_error.empty() ? json::value(nullptr)
                                                              : json::value(loaded.digest_error)},
                        {"mismatch", MismatchJson(findings)},
                        {"cells", certificate.cells},
                        {"entries", certificate.entries},
                        {"empty", EmptyLinesJson(loaded.plan.mask, certificate)},
                        {"seconds", seconds}}));
    return code;
  }
  WriteStderr(EmptyLinesText(loaded.plan.mask, certificate));
  std::string text;
  if (seal_broken) text += "the seal is broken, and ignored as asked\n";
  if (!loaded.digest_error.empty()) text += loaded.digest_error + "\n";
  text += findings.has_mismatch()
              ? fmt::format("MISMATCH in {}: {}\n", arguments.file, findings.MismatchText())
              : fmt::format("{} {}: {} and its tables agree ({}; {})\n",
                            code == kDone ? "ok" : "NOT OK", arguments.file,
                            ShortMaskText(ToString(loaded.plan.mask)),
                            EvidenceText(loaded.plan, certificate), Duration(seconds));
  WriteStdout(text);
  return code;
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar(stop);
  ReadOptions options;
  options.seal = arguments.ignore_seal ? ReadOptions::Seal::kReport : ReadOptions::Seal::kRequire;
  options.progress = bar.Step("read");
  std::optional<LoadedPlan> loaded;
  try {
    loaded = ReadPlan(arguments.file, options);
  } catch (const Error& error) {
    if (arguments.json && error.code() == ErrorCode::kDamaged) {
      WriteStdout(ToLine({{"ok", false},
                          {"file", arguments.file},
                          {"seal", SealName(CheckSeal(arguments.file))},
                          {"error", error.what()},
                          {"mismatch", nullptr}}));
    }
    throw;
  }
  Findings findings{Certify(loaded->plan, {0, bar.Step("certify")}), std::nullopt};
  if (!findings.certificate.mismatch && loaded->plan.has_tokamax()) {
    findings.tokamax_mismatch =
        FindTokamaxMismatch(loaded->plan, /*threads=*/0, bar.Step("compile tokamax"));
  }
  bar.Wipe();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return Report(arguments, *loaded, findings, seconds);
}

}  // namespace

Command AddVerify(CLI::App& app) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("verify", kHelp);
  command->footer(kMore);
  command->add_option("PLAN", arguments->file, "The plan file")->required()->type_name("");
  command->add_flag("--ignore-seal", arguments->ignore_seal,
                    "Certify the tables of a file that was changed on purpose, too");
  command->add_flag("--json", arguments->json, "Print one JSON object instead of text");
  return {command, [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); }};
}

}  // namespace splashmask::cli
