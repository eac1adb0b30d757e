// SPDX-License-Identifier: Apache-2.0
// splashmask inspect: what a plan file holds.

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/empty_lines.h"
#include "splashmask/cli/inspect_ggml.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/count_pairs.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::optional<std::string> file;
  GgmlArguments ggml;
  bool count = false, json = false;
};

constexpr const char* kHelp = "Tell what a plan file, or another tool's listing, holds";

constexpr const char* kMore =
    R"(Digests, options, every table with dtype, shape and bytes, blocks by class, and rows that
attend to nothing. The seal and the digests of a file over 1 GiB are left to `verify`. With --count
also the pairs that the mask lets through, counted without visiting its cells.

With --ggml the cost listing of a ggml graph: its totals, held against its nodes, and the model's
geometry. With --length also what the attention of that model computes and reads at that many
positions, for the whole sequence and for one token more, beside the rest of the model; layers take
the masks in turns.

Examples:
  splashmask inspect llama.h5
  splashmask inspect llama.h5 --json | python3 -m json.tool)";

/// Larger files are described without reading every byte twice first.
constexpr uintmax_t kMostBytesChecked = uintmax_t{1} << 30;

LoadedPlan Load(const std::string& file, const std::atomic<bool>& stop) {
  ReadOptions options;
  options.progress.stop = &stop;
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(file, error);
  if (!error && size > kMostBytesChecked) {
    options.seal = ReadOptions::Seal::kSkip;
    options.check_digests = false;
  }
  return ReadPlan(file, options);
}

const char* SealText(SealState seal) {
  return seal == SealState::kValid ? "valid" : "not checked (`splashmask verify` does)";
}

// "8,390,656 pairs (50.0 %) in heads 0-7", a line for heads of as many.
std::string PairsText(const std::vector<int64_t>& pairs, const MultiHeadMask& mask) {
  std::map<int64_t, std::vector<int64_t>> heads_of;
  for (size_t head = 0; head < pairs.size(); ++head) {
    heads_of[pairs[head]].push_back(static_cast<int64_t>(head));
  }
  const Shape shape = mask.shape();
  const double all = static_cast<double>(shape.q_len) * static_cast<double>(shape.kv_len);
  std::string text;
  for (const auto& [count, heads] : heads_of) {
    text += fmt::format("{} pairs ({}) in {}\n", Grouped(count),
                        Percent(static_cast<double>(count) / all), Heads(heads, mask.num_heads()));
  }
  return text;
}

std::string Describe(const std::string& file, const LoadedPlan& loaded,
                     const std::vector<EmptyLinesOfHeads>& empty) {
  const Plan& plan = loaded.plan;
  const PlanOptions& options = plan.options;
  std::string text = fmt::format(
      "{}: {}, plan format {}, created with {}\n"
      "seal            {}\n"
      "mask            {}\n"
      "shape           {}\n"
      "mask digest     {}\n"
      "plan digest     {}\n"
      "content digest  {}\n"
      "options         head_shards {}, q_seq_shards {}, downcast_smem_data {}, shrink_grid {},\n"
      "                use_fused_bwd_kernel {}, simplify {}\n\n",
      file, Bytes(loaded.file_bytes), loaded.format_version, loaded.created_with,
      SealText(loaded.seal), ToString(plan.mask), ShapeText(plan.mask), loaded.digests.mask_digest,
      loaded.digests.plan_digest, loaded.digests.content_digest, options.head_shards,
      options.q_seq_shards, YesNo(options.downcast_smem_data), YesNo(options.shrink_grid),
      YesNo(options.use_fused_bwd_kernel), YesNo(options.simplify));
  for (const Pass pass : kAllPasses) {
    if (plan.pass(pass)) text += PassText(plan, pass) + "\n";
  }
  for (const Pass pass : kTokamaxPasses) {
    if (plan.tokamax_pass(pass)) text += TokamaxText(plan, pass) + "\n";
  }
  if (empty.empty()) return text + "every row attends to something\n";
  for (const EmptyLinesOfHeads& group : empty) {
    text += EmptyRowsText(group, plan.mask.num_heads()) + "\n";
  }
  return text;
}

ExitCode InspectPlan(const Arguments& arguments, const std::atomic<bool>& stop) {
  const std::string& file = *arguments.file;
  const LoadedPlan loaded = Load(file, stop);
  const MultiHeadMask& mask = loaded.plan.mask;
  const std::vector<EmptyLinesOfHeads> empty = FindEmptyRows(mask, /*threads=*/0);
  std::vector<int64_t> pairs;  // Of each head, if they are asked for.
  ProgressBar bar(stop);
  if (arguments.count) pairs = CountPairs(mask, {}, /*threads=*/0, bar.Step("count"));
  bar.Wipe();
  if (arguments.json) {
    json::object result = PlanJson(loaded.plan);
    result["file"] = file;
    result["file_bytes"] = loaded.file_bytes;
    result["format_version"] = loaded.format_version;
    result["created_with"] = loaded.created_with;
    result["seal"] = SealName(loaded.seal);
    result["digests"] = DigestsJson(loaded.digests);
    result["empty_rows"] = EmptyRowsJson(empty);
    if (arguments.count) result["visible_pairs"] = json::array(pairs.begin(), pairs.end());
    WriteStdout(ToLine(result));
  } else {
    WriteStdout(Describe(file, loaded, empty) + PairsText(pairs, mask));
  }
  return kDone;
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  if (!arguments.ggml.file) {
    if (!arguments.file) ThrowUnusable("PLAN is required");
    if (arguments.ggml.length) ThrowUnusable("expected --ggml beside --length, got it alone");
    if (!arguments.ggml.masks.empty()) ThrowUnusable("expected --ggml beside --mask, got it alone");
    return InspectPlan(arguments, stop);
  }
  if (arguments.file) ThrowUnusable("expected PLAN or --ggml, got both");
  if (arguments.count) ThrowUnusable("expected PLAN beside --count, got --ggml");
  GgmlArguments ggml = arguments.ggml;
  if (!ggml.length && !ggml.masks.empty())
    ThrowUnusable("expected --length beside --mask, got it alone");
  if (ggml.masks.empty()) ggml.masks = {"causal()"};
  return InspectGgml(ggml, arguments.json, stop);
}

}  // namespace

void AddInspect(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax =
      line.Add("inspect", kHelp, kMore,
               [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); });
  syntax.Positional("PLAN", arguments->file, "The plan file");
  syntax.Text("--ggml", "FILE", arguments->ggml.file, "A cost listing of a ggml graph instead");
  syntax.Integer("--length", arguments->ggml.length,
                 "With --ggml: positions of the sequence whose attention is asked about");
  syntax.Texts("--mask", "MASK", arguments->ggml.masks,
               "With --length: the mask of a layer (causal()); again for the next layer");
  syntax.Flag("--count", arguments->count,
              "Count the pairs that the mask lets through, head by head");
  syntax.Flag("--json", arguments->json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
