// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/empty_lines.h"

#include <fmt/format.h>

#include <map>
#include <unordered_map>

#include "splashmask/cli/numbers.h"
#include "splashmask/planner/compile/compile.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

/// "<count> <what> (<heads>): <axis> <ranges>", the heads left out where they are all.
std::string Describe(const EmptyLinesOfHeads& empty, int64_t num_heads, const char* what,
                     const char* axis) {
  const bool is_every_head = static_cast<int64_t>(empty.heads.size()) == num_heads;
  return fmt::format("{} {}{}: {} {}", Grouped(CountPositions(empty.ranges)), what,
                     is_every_head ? "" : fmt::format(" ({})", Heads(empty.heads, num_heads)), axis,
                     Ranges(empty.ranges));
}

}  // namespace

std::vector<EmptyLinesOfHeads> FindEmptyRows(const MultiHeadMask& mask, int threads) {
  std::vector<EmptyLinesOfHeads> groups;
  // Heads that repeat a mask share its nodes, so each is looked at once.
  std::unordered_map<const MaskNode*, PositionRanges> rows_of;
  std::map<PositionRanges, size_t> group_of;
  for (int64_t head = 0; head < mask.num_heads(); ++head) {
    const Mask& head_mask = mask.masks()[static_cast<size_t>(head)];
    const auto [entry, is_new] = rows_of.try_emplace(&head_mask.node());
    if (is_new) entry->second = EmptyRows(head_mask, threads);
    const PositionRanges& rows = entry->second;
    if (rows.empty()) continue;
    const auto [group, is_new_group] = group_of.try_emplace(rows, groups.size());
    if (is_new_group) groups.push_back({{}, rows});
    groups[group->second].heads.push_back(head);
  }
  return groups;
}

std::string EmptyRowsText(const EmptyLinesOfHeads& empty, int64_t num_heads) {
  const bool is_one = CountPositions(empty.ranges) == 1;
  return Describe(empty, num_heads, is_one ? "row attends to nothing" : "rows attend to nothing",
                  "q");
}

std::string EmptyColumnsText(const EmptyLinesOfHeads& empty, int64_t num_heads) {
  const bool is_one = CountPositions(empty.ranges) == 1;
  return Describe(empty, num_heads,
                  is_one ? "column is seen by nothing" : "columns are seen by nothing", "kv");
}

json::array EmptyRowsJson(const std::vector<EmptyLinesOfHeads>& empty) {
  json::array result;
  for (const EmptyLinesOfHeads& group : empty) {
    result.push_back({{"heads", json::array(group.heads.begin(), group.heads.end())},
                      {"count", CountPositions(group.ranges)},
                      {"ranges", RangesJson(group.ranges)}});
  }
  return result;
}

json::array RangesJson(const std::vector<std::pair<int64_t, int64_t>>& ranges) {
  json::array result;
  for (const auto& [begin, end] : ranges) result.push_back({begin, end});
  return result;
}

}  // namespace splashmask::cli
