// SPDX-License-Identifier: Apache-2.0
// splashmask diff: are two masks equal, and where do they differ?

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/mask_argument.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/short_text.h"
#include "splashmask/planner/compile/diff_masks.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::string a, b;
  MaskLengths lengths;
  int threads = 0;
  bool json = false;
};

constexpr const char* kHelp = "Tell whether two masks are equal, or where they differ";

constexpr const char* kMore =
    R"(A and B are plan files or masks in their text form. Masks are equal when every pair is, however
they are written; of plans the masks alone are compared, not the options nor the tables. A text takes
the lengths and heads of the plan beside it. Cells are not visited where runs of rows tell.

Ends with 0 when the masks are equal, 1 when they differ: then it tells of each head how many pairs
do, and the first of them, by q and then kv.

Examples:
  splashmask diff 'causal()' 'local(none, 0)' --q-len 131072
  splashmask diff llama.h5 '~(~causal())'
  splashmask diff llama.h5 'local(none, 0)' --json)";

using Masks = std::pair<MaskArgument, MaskArgument>;

/// A text beside another mask, from which it takes what is left open.
MaskArgument ParseBeside(const std::string& text, MaskLengths lengths, const MultiHeadMask& mask) {
  // A q_len of its own may come without a kv_len, which then equals it.
  if (!lengths.q_len && !lengths.kv_len) lengths.kv_len = mask.shape().kv_len;
  lengths.q_len = lengths.q_len.value_or(mask.shape().q_len);
  lengths.heads = lengths.heads.value_or(mask.num_heads());
  return ParseTextArgument(text, lengths);
}

Masks ReadMasks(const Arguments& arguments, ProgressBar& bar) {
  const bool a_is_text = IsMaskText(arguments.a), b_is_text = IsMaskText(arguments.b);
  const MaskLengths& lengths = arguments.lengths;
  if (!a_is_text && !b_is_text && lengths.is_given()) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "[arguments] expected --q-len, --kv-len and --heads beside a mask's text alone, got "
        "two plans, which have their own");
  }
  const auto read = [&](const std::string& file) {
    return ReadPlanArgument(file, bar.Step("read"));
  };
  if (a_is_text && !b_is_text) {
    MaskArgument b = read(arguments.b);
    MaskArgument a = ParseBeside(arguments.a, lengths, b.mask);
    return {std::move(a), std::move(b)};
  }
  MaskArgument a = a_is_text ? ParseTextArgument(arguments.a, lengths) : read(arguments.a);
  if (!b_is_text) return {std::move(a), read(arguments.b)};
  if (!a_is_text) {
    MaskArgument b = ParseBeside(arguments.b, lengths, a.mask);
    return {std::move(a), std::move(b)};
  }
  // A single mask is every head's, beside a list.
  MaskArgument b = ParseTextArgument(arguments.b, lengths);
  if (b.mask.num_heads() == 1) b = ParseBeside(arguments.b, lengths, a.mask);
  if (a.mask.num_heads() == 1) a = ParseBeside(arguments.a, lengths, b.mask);
  return {std::move(a), std::move(b)};
}

/// Heads that differ alike, in the order of their first.
struct Group {
  std::vector<int64_t> heads;
  MaskDifference difference;
};

std::vector<Group> GroupAlike(const std::vector<MaskDifference>& differences) {
  std::vector<Group> groups;
  for (size_t head = 0; head < differences.size(); ++head) {
    const auto is_alike = [&](const Group& group) { return group.difference == differences[head]; };
    auto group = std::find_if(groups.begin(), groups.end(), is_alike);
    if (group == groups.end()) group = groups.insert(group, {{}, differences[head]});
    group->heads.push_back(static_cast<int64_t>(head));
  }
  return groups;
}

double Share(const MaskDifference& difference, Shape shape) {
  return static_cast<double>(difference.cells) /
         (static_cast<double>(shape.q_len) * static_cast<double>(shape.kv_len));
}

std::string Describe(const Masks& masks, const std::vector<Group>& groups) {
  const MultiHeadMask& mask = masks.first.mask;
  const auto line = [](const char* name, const MaskArgument& argument) {
    const std::string text = ShortMaskText(ToString(argument.mask));
    return argument.plan ? fmt::format("{}      {}: {}\n", name, argument.name, text)
                         : fmt::format("{}      {}\n", name, text);
  };
  std::string text = line("A", masks.first) + line("B", masks.second) +
                     fmt::format("shape  {}\n", ShapeText(mask));
  for (const Group& group : groups) {
    const std::string heads = Heads(group.heads, mask.num_heads());
    const auto& first = group.difference.first;
    if (!first) {
      text += fmt::format("equal in {}\n", heads);
      continue;
    }
    const int64_t cells = group.difference.cells;
    text += fmt::format("{} pair{} ({}) differ{} in {}, first q {}, kv {}: {} in A, {} in B\n",
                        Grouped(cells), cells == 1 ? "" : "s",
                        Percent(Share(group.difference, mask.shape())), cells == 1 ? "s" : "",
                        heads, first->q, first->kv, first->a ? "attends" : "masked",
                        first->b ? "attends" : "masked");
  }
  return text;
}

json::object DescribeJson(const Masks& masks, const std::vector<Group>& groups, double seconds) {
  const MultiHeadMask& mask = masks.first.mask;
  const auto side = [](const MaskArgument& argument) {
    return json::object{{"file", argument.plan ? json::value(argument.name) : json::value(nullptr)},
                        {"mask", ToString(argument.mask)}};
  };
  json::array heads;
  bool is_equal = true;
  for (const auto& [group, difference] : groups) {
    is_equal = is_equal && difference.is_equal();
    const auto& first = difference.first;
    heads.push_back(
        {{"heads", json::array(group.begin(), group.end())},
         {"equal", difference.is_equal()},
         {"pairs", difference.cells},
         {"share", Share(difference, mask.shape())},
         {"first", first
                       ? json::value(json::object{
                             {"q", first->q}, {"kv", first->kv}, {"a", first->a}, {"b", first->b}})
                       : json::value(nullptr)}});
  }
  return {{"equal", is_equal},
          {"a", side(masks.first)},
          {"b", side(masks.second)},
          {"q_len", mask.shape().q_len},
          {"kv_len", mask.shape().kv_len},
          {"num_heads", mask.num_heads()},
          {"differences", std::move(heads)},
          {"seconds", seconds}};
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  const auto start = std::chrono::steady_clock::now();
  ProgressBar bar(stop);
  const Masks masks = ReadMasks(arguments, bar);
  const std::vector<MaskDifference> differences =
      DiffMasks(masks.first.mask, masks.second.mask, arguments.threads, bar.Step("diff"));
  bar.Wipe();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::vector<Group> groups = GroupAlike(differences);
  WriteStdout(arguments.json ? ToLine(DescribeJson(masks, groups, seconds))
                             : Describe(masks, groups));
  return std::ranges::all_of(differences, &MaskDifference::is_equal) ? kDone : kAnswerIsNo;
}

}  // namespace

void AddDiff(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax = line.Add("diff", kHelp, kMore, [arguments](const std::atomic<bool>& stop) {
    return Run(*arguments, stop);
  });
  Arguments& a = *arguments;
  syntax.Positional("A", a.a, "A plan file, or a mask's text form");
  syntax.Positional("B", a.b, "What to compare it with");
  AddMaskLengths(syntax, a.lengths);
  syntax.Integer("--threads", a.threads, "Threads to use (default: 0, all)", {0, 1024});
  syntax.Flag("--json", a.json, "Print one JSON object instead of text");
}

}  // namespace splashmask::cli
