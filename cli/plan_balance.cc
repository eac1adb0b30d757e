// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_balance.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "splashmask/cli/command_line.h"
#include "splashmask/cli/plan_balance_report.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/arrays.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/q_block_work.h"
#include "splashmask/planner/compile/seen_kv.h"
#include "splashmask/planner/cost/balance.h"

namespace splashmask::cli {

namespace {

void Check(const BalanceArguments& arguments) {
  const size_t masks = arguments.masks.size();
  if (masks == 0) ThrowUnusable("expected at least one MASK beside --balance, got none");
  if (!arguments.shards) ThrowUnusable("expected --shards beside --balance");
  if (!arguments.weights.empty() && arguments.weights.size() != masks) {
    ThrowUnusable(fmt::format("expected a weight for each of {} masks, got {}", masks,
                              arguments.weights.size()));
  }
  if (!arguments.outputs.empty() && arguments.outputs.size() != masks) {
    ThrowUnusable(fmt::format("expected -o once for each of {} masks, got {}", masks,
                              arguments.outputs.size()));
  }
  std::vector<std::string> files = arguments.outputs;
  if (arguments.permutation) files.push_back(*arguments.permutation);
  std::sort(files.begin(), files.end());
  const auto twice = std::adjacent_find(files.begin(), files.end());
  if (twice != files.end()) {
    ThrowUnusable(fmt::format("expected different files to write, got {} twice", *twice));
  }
}

std::vector<WeightedMask> ParseMasks(const BalanceArguments& arguments) {
  std::vector<WeightedMask> masks;
  for (size_t i = 0; i < arguments.masks.size(); ++i) {
    masks.push_back({ParseTextArgument(arguments.masks[i], arguments.lengths).mask,
                     arguments.weights.empty() ? 1 : arguments.weights[i]});
  }
  return masks;
}

// Those that can be, the contiguous one first; the one that was asked for has to be.
std::vector<ShardBalance> BalanceByAll(const ShardBalancer& balancer, BalanceMethod asked,
                                       int64_t q_len, int64_t shards) {
  std::vector<ShardBalance> balances;
  for (const BalanceMethod method : kAllBalanceMethods) {
    const bool has_pieces = q_len / shards % 2 == 0;
    if (method == BalanceMethod::kZigzag && method != asked && !has_pieces) continue;
    balances.push_back(balancer.Balance(method));
  }
  return balances;
}

void WritePlanOf(const MultiHeadMask& mask, const BalanceReport& report, int threads,
                 ProgressBar& bar, const std::string& file) {
  CompileOptions options;
  options.fwd = options.dq = options.dkv = report.block;
  options.plan.q_seq_shards = report.chosen.shards();
  options.threads = threads;
  options.progress = bar.Step("compile");
  const Plan plan = Compile(mask, options);
  WritePlan(plan, file, bar.Step("write"));
}

}  // namespace

ExitCode PlanBalance(const BalanceArguments& arguments, bool as_json,
                     const std::atomic<bool>& stop) {
  Check(arguments);
  const BalanceMethod method = BalanceMethodFromName(arguments.method);
  const std::vector<WeightedMask> masks = ParseMasks(arguments);
  BalanceReport report;
  report.shape = masks.front().mask.shape();
  report.block = {arguments.block_q, arguments.block_kv};
  report.unit = WorkUnitFromName(arguments.unit);

  ProgressBar bar(stop);
  const auto measure = [&](const MultiHeadMask& mask) {
    return MeasureQBlocks(mask, report.block, arguments.threads, bar.Step("measure"));
  };
  const int64_t shards = *arguments.shards;
  const ShardBalancer balancer(masks, {shards, arguments.block_q, report.unit}, measure);
  report.methods = BalanceByAll(balancer, method, report.shape.q_len, shards);
  report.chosen = *std::ranges::find(report.methods, method, &ShardBalance::method);
  for (size_t i = 0; i < masks.size(); ++i) {
    const MultiHeadMask reordered = report.chosen.Reorder(masks[i].mask);
    report.masks.push_back({arguments.masks[i], masks[i].weight, reordered.num_heads(),
                            SeenKvRanges(reordered, shards, arguments.threads, bar.Step("ranges")),
                            std::nullopt});
    if (arguments.outputs.empty()) continue;
    report.masks.back().file = arguments.outputs[i];
    WritePlanOf(reordered, report, arguments.threads, bar, arguments.outputs[i]);
  }
  if (arguments.permutation) {
    WriteNpy(*arguments.permutation, report.chosen.permutation);
    report.permutation = arguments.permutation;
  }
  bar.Wipe();
  WriteStdout(as_json ? ToLine(report.DescribeJson()) : report.Describe());
  return kDone;
}

}  // namespace splashmask::cli
