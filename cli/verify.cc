// SPDX-License-Identifier: Apache-2.0
// splashmask verify: does a plan file say what its mask says?

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/empty_lines.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/short_text.h"
#include "splashmask/planner/certify/certify.h"

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
mask, cell by cell. Ends with 0 when that is so, 1 when a table is wrong, 3 when the file is
damaged.

Examples:
  splashmask verify llama.h5
  splashmask verify edited.h5 --ignore-seal --json)";

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

json::value MismatchJson(const std::optional<Mismatch>& mismatch) {
  if (!mismatch) return nullptr;
  const auto position = [](const std::optional<int64_t>& value) {
    return value ? json::value(*value) : json::value(nullptr);
  };
  return json::object{{"pass", mismatch->PassPath()},
                      {"table", mismatch->table},
                      {"index", json::array(mismatch->index.begin(), mismatch->index.end())},
                      {"head", position(mismatch->head)},
                      {"q", position(mismatch->q)},
                      {"kv", position(mismatch->kv)},
                      {"expected", mismatch->expected},
                      {"got", mismatch->got}};
}

/// Writes the answer, and says how it ends: a wrong table is a no; a digest that is not the plan's
/// own is damage, which --ignore-seal does not cover.
ExitCode Report(const Arguments& arguments, const LoadedPlan& loaded,
                const Certificate& certificate, double seconds) {
  const ExitCode code = certificate.mismatch           ? kAnswerIsNo
                        : !loaded.digest_error.empty() ? kDamagedOrIo
                                                       : kDone;
  const bool seal_broken = loaded.seal == SealState::kBroken;
  if (arguments.json) {
    WriteStdout(ToLine({{"ok", code == kDone},
                        {"file", arguments.file},
                        {"seal", SealName(loaded.seal)},
                        {"error", loaded.digest_error.empty() ? json::value(nullptr)
                                                              : json::value(loaded.digest_error)},
                        {"mismatch", MismatchJson(certificate.mismatch)},
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
  text +=
      certificate.mismatch
          ? fmt::format("MISMATCH in {}: {}\n", arguments.file, certificate.mismatch->ToString())
          : fmt::format("{} {}: {} and its tables agree ({}; {} cells, {} entries; {})\n",
                        code == kDone ? "ok" : "NOT OK", arguments.file,
                        ShortMaskText(ToString(loaded.plan.mask)),
                        fmt::join(PassPaths(loaded.plan), ", "), Grouped(certificate.cells),
                        Grouped(certificate.entries), Duration(seconds));
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
  Certificate certificate;
  try {
    loaded = ReadPlan(arguments.file, options);
    certificate = Certify(loaded->plan, {0, bar.Step("certify")});
  } catch (const Error& thrown) {
    // Options that cannot belong to the mask are damage here: no plan is written with such.
    const bool is_damage = loaded && thrown.code() == ErrorCode::kInvalidArgument;
    const Error error =
        is_damage ? Error(ErrorCode::kDamaged, arguments.file + ": " + thrown.what()) : thrown;
    if (arguments.json && error.code() == ErrorCode::kDamaged) {
      WriteStdout(ToLine({{"ok", false},
                          {"file", arguments.file},
                          {"seal", SealName(CheckSeal(arguments.file))},
                          {"error", error.what()},
                          {"mismatch", nullptr}}));
    }
    throw error;
  }
  bar.Wipe();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return Report(arguments, *loaded, certificate, seconds);
}

}  // namespace

void AddVerify(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax =
      line.Add("verify", kHelp, kMore,
               [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); });
  syntax.Positional("PLAN", arguments->file, "The plan file");
  syntax.Flag("--ignore-seal", arguments->ignore_seal,
              "Certify the tables of a file that was changed on purpose, too");
  syntax.Flag("--json", arguments->json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
