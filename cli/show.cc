// SPDX-License-Identifier: Apache-2.0
// splashmask show: a picture of a plan's blocks.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "splashmask/cli/commands.h"
#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/short_text.h"
#include "splashmask/planner/picture.h"
#include "splashmask/planner/plan_statistics.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

struct Arguments {
  std::string file;
  std::string pass;  ///< Empty: the first that the plan has.
  int64_t head = 0;
  std::optional<int> width;
  std::string colour = "auto";
  bool json = false;
};

constexpr const char* kHelp = "Draw the grid of blocks in the terminal";

constexpr const char* kMore =
    R"(q positions go down, kv positions to the right. A shrunk grid is drawn whole, each block where
it belongs.

Examples:
  splashmask show llama.h5
  splashmask show llama.h5 --pass dkv --head 3 --width 120
  splashmask show llama.h5 --color always | less -R)";

/// Less holds no picture.
constexpr int kLeastWidth = 20;

ColourChoice ColourChoiceOf(const Arguments& arguments) {
  return arguments.colour == "always"  ? ColourChoice::kAlways
         : arguments.colour == "never" ? ColourChoice::kNever
                                       : ColourChoice::kAuto;
}

std::string Describe(const Arguments& arguments, const Plan& plan, const PassGrid& shown) {
  const auto& [path, block, grid] = shown;
  PictureOptions options;
  options.width = std::max(arguments.width.value_or(StdoutWidth()), kLeastWidth);
  options.colours = StdoutColours(ColourChoiceOf(arguments));
  const BlockCounts counts = CountBlocks(grid);
  const auto part = [&](int64_t count, const char* name) {
    return fmt::format("{} {} ({})", Grouped(count), name,
                       Percent(static_cast<double>(count) / static_cast<double>(counts.total())));
  };
  const Mask& mask = plan.mask.masks()[static_cast<size_t>(arguments.head)];
  return fmt::format("{}\n{}, head {} of {}, {} x {} blocks of {} q x {} kv\n\n{}{}, {}, {}\n",
                     Shorten(ShortMaskText(ToString(mask)), options.width), path, arguments.head,
                     plan.mask.num_heads(), Grouped(grid.q_blocks), Grouped(grid.kv_blocks),
                     block.q, block.kv, DrawPicture(grid, block, options),
                     part(counts.full, "full"), part(counts.partial, "partial"),
                     part(counts.empty, "empty"));
}

json::object DescribeJson(const Arguments& arguments, const Plan& plan, const PassGrid& shown) {
  const auto& [path, block, grid] = shown;
  json::array rows;
  for (int64_t q = 0; q < grid.q_blocks; ++q) {
    std::string row;
    for (int64_t kv = 0; kv < grid.kv_blocks; ++kv) {
      row += static_cast<char>('0' + static_cast<int>(grid.At(q, kv)));
    }
    rows.emplace_back(row);
  }
  return {{"file", arguments.file},
          {"pass", path},
          {"head", arguments.head},
          {"mask", ToString(plan.mask.masks()[static_cast<size_t>(arguments.head)])},
          {"block_q", block.q},
          {"block_kv", block.kv},
          {"blocks", CountsJson(CountBlocks(grid))},
          {"rows", std::move(rows)}};
}

ExitCode Run(const Arguments& arguments, const std::atomic<bool>& stop) {
  ReadOptions options;
  options.progress.stop = &stop;
  const Plan plan = ReadPlan(arguments.file, options).plan;
  const PassGrid shown = LayOutBlocks(
      plan, arguments.pass.empty() ? std::nullopt : std::optional(arguments.pass), arguments.head);
  WriteStdout(arguments.json ? ToLine(DescribeJson(arguments, plan, shown))
                             : Describe(arguments, plan, shown));
  return kDone;
}

}  // namespace

void AddShow(CommandLine& line) {
  auto arguments = std::make_shared<Arguments>();
  CommandSyntax syntax = line.Add("show", kHelp, kMore, [arguments](const std::atomic<bool>& stop) {
    return Run(*arguments, stop);
  });
  Arguments& a = *arguments;
  syntax.Positional("PLAN", a.file, "The plan file");
  syntax.Choice("--pass", "PASS", a.pass, {"fwd", "dq", "dkv", "tokamax/fwd", "tokamax/dkv"},
                "fwd, dq, dkv, tokamax/fwd or tokamax/dkv (default: the first it has)");
  syntax.Integer("--head", a.head, "The head, from 0 (default: 0)", {.least = 0});
  syntax.Integer("--width", a.width, "Characters in a line (default: the terminal's)",
                 {kLeastWidth, 2000});
  syntax.Choice("--color", "WHEN", a.colour, {"auto", "always", "never"},
                "auto, always or never (default: auto, in a terminal without NO_COLOR)");
  syntax.Flag("--json", a.json, "Print one JSON object instead of the picture");
}

}  // namespace splashmask::cli
