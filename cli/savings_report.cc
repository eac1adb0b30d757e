// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/savings_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "splashmask/cli/numbers.h"

namespace splashmask::cli {

namespace {

/// Of all passes together.
std::string BlocksText(const MaskCost& cost) {
  int64_t blocks = 0, bytes = 0;
  for (const MaskCost::PassCost& pass : cost.passes) {
    blocks += pass.partial_blocks;
    bytes += pass.partial_bytes;
  }
  if (blocks == 0) return "none";
  return fmt::format("{} partial block{} ({})", Grouped(blocks), blocks == 1 ? "" : "s",
                     Bytes(bytes));
}

bool IsComputed(const MaskCost& cost) {
  return std::ranges::any_of(cost.passes, &MaskCost::PassCost::is_computed);
}

boost::json::object CostJson(const MaskCost& cost) {
  boost::json::object passes;
  for (const MaskCost::PassCost& pass : cost.passes) {
    passes[PassName(pass.pass)] = {{"computed", pass.is_computed},
                                   {"partial_blocks", pass.partial_blocks},
                                   {"partial_bytes", pass.partial_bytes}};
  }
  return {{"masks", cost.masks}, {"nodes", cost.nodes}, {"passes", std::move(passes)}};
}

}  // namespace

std::string SavingsText(const SimplifySavings& savings) {
  const MaskCost& after = savings.after;
  if (savings.before == after) return "nothing to save";
  std::string text, blocks;
  if (savings.before) {
    text = fmt::format("{} nodes -> ", Grouped(savings.before->nodes));
    blocks = BlocksText(*savings.before) + " -> ";
  } else {
    blocks = "partial blocks that do not fit in memory -> ";
  }
  text += fmt::format("{} node{}, {}{}", Grouped(after.nodes), after.nodes == 1 ? "" : "s", blocks,
                      BlocksText(after));
  if (IsComputed(after)) text += ", computed by the kernel";
  return text;
}

boost::json::object SavingsJson(const SimplifySavings& savings) {
  return {{"before", savings.before ? boost::json::value(CostJson(*savings.before))
                                    : boost::json::value(nullptr)},
          {"after", CostJson(savings.after)}};
}

}  // namespace splashmask::cli
