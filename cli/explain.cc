// SPDX-License-Identifier: Apache-2.0
// splashmask explain: why a pair attends, or does not.

#include "splashmask/masks/explain.h"

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/mask_argument.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/plan_statistics.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::string mask;
  int64_t head = 0, q = 0, kv = 0;
  MaskLengths lengths;
  bool json = false;
};

constexpr const char* kHelp = "Tell why a pair attends or does not";

constexpr const char* kMore =
    R"(The mask of one head, part by part, at one pair: what each says there and why, and which leaves
decide. These are as few as possible: whatever the others said, the pair would be the same. Of a plan
also the class of the block that holds the pair, in each pass.

Ends with 0 whether the pair attends or not.

Examples:
  splashmask explain 'causal() & ~prefix(128)' --q-len 4096 --q 700 --kv 699
  splashmask explain llama.h5 --q 700 --kv 2000
  splashmask explain llama.h5 --head 3 --q 0 --kv 0 --json)";

/// The block of a pass that holds the pair.
struct Block {
  std::string pass;
  int64_t q = 0, kv = 0;
  BlockClass block_class = BlockClass::kEmpty;
};

const char* ClassName(BlockClass block_class) {
  switch (block_class) {
    case BlockClass::kEmpty:
      return "empty";
    case BlockClass::kPartial:
      return "partial";
    case BlockClass::kFull:
      return "full";
  }
  return "";
}

std::vector<Block> FindBlocks(const Plan& plan, const Arguments& arguments) {
  std::vector<Block> blocks;
  for (const std::string& path : PassPaths(plan)) {
    const PassGrid pass = LayOutBlocks(plan, path, arguments.head);
    const int64_t q = arguments.q / pass.block.q, kv = arguments.kv / pass.block.kv;
    blocks.push_back({path, q, kv, pass.grid.At(q, kv)});
  }
  return blocks;
}

std::string Describe(const Explanation& explanation, const std::vector<Block>& blocks) {
  std::string text = ToString(explanation);
  for (const Block& block : blocks) {
    text += fmt::format("{} block ({}, {}): {}\n", block.pass, block.q, block.kv,
                        ClassName(block.block_class));
  }
  return text;
}

json::object DescribeJson(const Arguments& arguments, const MaskArgument& argument,
                          const Explanation& explanation, const std::vector<Block>& blocks) {
  json::array parts, deciding;
  for (const ExplainedPart& part : explanation.parts) {
    json::object described{
        {"depth", part.depth}, {"part", PartName(part)},  {"q", part.q},          {"kv", part.kv},
        {"value", part.value}, {"decides", part.decides}, {"reason", part.reason}};
    if (part.decides) deciding.push_back(described);
    parts.push_back(std::move(described));
  }
  json::object of_passes;
  for (const Block& block : blocks) {
    of_passes[block.pass] = {
        {"q", block.q}, {"kv", block.kv}, {"class", ClassName(block.block_class)}};
  }
  return {{"file", argument.plan ? json::value(argument.name) : json::value(nullptr)},
          {"mask", ToString(explanation.parts.front().mask)},
          {"head", arguments.head},
          {"q", arguments.q},
          {"kv", arguments.kv},
          {"attends", explanation.value()},
          {"deciding", std::move(deciding)},
          {"parts", std::move(parts)},
          {"blocks", std::move(of_passes)}};
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  ProgressBar bar(stop);
  const bool is_text = IsMaskText(arguments.mask);
  if (!is_text && arguments.lengths.is_given()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "[arguments] expected --q-len, --kv-len and --heads beside a mask's text alone, got "
        "a plan, which has its own");
  }
  const MaskArgument argument = is_text ? ParseTextArgument(arguments.mask, arguments.lengths)
                                        : ReadPlanArgument(arguments.mask, bar.Step("read"));
  bar.Wipe();
  const Explanation explanation = Explain(argument.mask, arguments.head, arguments.q, arguments.kv);
  const std::vector<Block> blocks =
      argument.plan ? FindBlocks(*argument.plan, arguments) : std::vector<Block>();
  WriteStdout(arguments.json ? ToLine(DescribeJson(arguments, argument, explanation, blocks))
                             : Describe(explanation, blocks));
  return kDone;
}

}  // namespace

void AddExplain(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax =
      line.Add("explain", kHelp, kMore,
               [arguments](const std::atomic<bool>& stop) { return Run(*arguments, stop); });
  Arguments& a = *arguments;
  syntax.Positional("PLAN", a.mask, "A plan file, or a mask's text form");
  syntax.RequiredInteger("--q", a.q, "The q position, from 0", {.least = 0});
  syntax.RequiredInteger("--kv", a.kv, "The kv position, from 0", {.least = 0});
  syntax.Integer("--head", a.head, "The head, from 0 (default: 0)", {.least = 0});
  AddMaskLengths(syntax, a.lengths);
  syntax.Flag("--json", a.json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
