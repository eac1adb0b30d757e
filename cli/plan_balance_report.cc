// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_balance_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "splashmask/cli/empty_lines.h"
#include "splashmask/cli/numbers.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

int64_t Sum(const std::vector<int64_t>& work) {
  return std::accumulate(work.begin(), work.end(), int64_t{0});
}

std::string MethodsText(const BalanceReport& report) {
  std::string text =
      fmt::format("{:<14}{:>9}{:>9}{:>18}\n", "imbalance", "blocks", "pairs", "blocks visited");
  for (const BalanceMethod method : kAllBalanceMethods) {
    const auto name = BalanceMethodName(method);
    const auto balance = std::ranges::find(report.methods, method, &ShardBalance::method);
    if (balance == report.methods.end()) {
      text += fmt::format("{:<14}{:>9}{:>9}{:>18}  {} does not divide q_len\n", name, "-", "-", "-",
                          2 * report.chosen.shards());
      continue;
    }
    text += fmt::format("{:<14}{:>9.3f}{:>9.3f}{:>18}{}\n", name, Imbalance(balance->total.blocks),
                        Imbalance(balance->total.pairs), Grouped(Sum(balance->total.blocks)),
                        method == report.chosen.method ? "  <-" : "");
  }
  return text;
}

std::string ShardsText(const BalanceReport& report) {
  const ShardBalance& chosen = report.chosen;
  const std::vector<int64_t>& work = chosen.work(report.unit);
  const double mean = static_cast<double>(Sum(work)) / static_cast<double>(chosen.shards());
  std::string text = fmt::format("{:<6}{:>8}{:>15}{:>21}  {}\n", "shard", "of mean", "blocks",
                                 "pairs", "q positions");
  for (int64_t shard = 0; shard < chosen.shards(); ++shard) {
    const auto i = static_cast<size_t>(shard);
    text += fmt::format("{:<6}{:>8.3f}{:>15}{:>21}  {}\n", shard,
                        mean == 0 ? 1.0 : static_cast<double>(work[i]) / mean,
                        Grouped(chosen.total.blocks[i]), Grouped(chosen.total.pairs[i]),
                        Ranges(chosen.RangesOf(shard), 1));
  }
  return text;
}

// How many kv positions its shards need.
std::string NeedsText(const BalanceReport::OfMask& mask, int64_t kv_len) {
  const auto [least, most] = std::ranges::minmax(mask.kv_ranges, {}, CountPositions);
  const int64_t fewest = CountPositions(least), all = CountPositions(most);
  return fmt::format("needs {}{} of {} kv positions a shard",
                     fewest == all ? "" : Grouped(fewest) + " to ", Grouped(all), Grouped(kv_len));
}

json::array NumbersJson(const std::vector<int64_t>& numbers) {
  return json::array(numbers.begin(), numbers.end());
}

json::object WorkJson(const PartWork& work) {
  return {{"blocks", NumbersJson(work.blocks)}, {"pairs", NumbersJson(work.pairs)}};
}

json::array MasksJson(const BalanceReport& report) {
  json::array masks;
  for (size_t i = 0; i < report.masks.size(); ++i) {
    const BalanceReport::OfMask& mask = report.masks[i];
    json::array kv_ranges;
    for (const PositionRanges& ranges : mask.kv_ranges) kv_ranges.push_back(RangesJson(ranges));
    masks.push_back(json::object{{"mask", mask.text},
                                 {"weight", mask.weight},
                                 {"num_heads", mask.num_heads},
                                 {"work", WorkJson(report.chosen.of_masks[i])},
                                 {"kv_ranges", std::move(kv_ranges)},
                                 {"file", mask.file ? json::value(*mask.file) : nullptr}});
  }
  return masks;
}

}  // namespace

std::string BalanceReport::Describe() const {
  std::string text = fmt::format("{} q x {} kv, {} shards of {} q positions, blocks {} x {}\n",
                                 Grouped(shape.q_len), Grouped(shape.kv_len), chosen.shards(),
                                 Grouped(shape.q_len / chosen.shards()), block.q, block.kv);
  for (const OfMask& mask : masks) {
    text += fmt::format("weight {:<4}{}\n           {}\n", mask.weight, mask.text,
                        NeedsText(mask, shape.kv_len));
  }
  text += fmt::format("\n{}\n{} by {}\n{}", MethodsText(*this), BalanceMethodName(chosen.method),
                      WorkUnitName(unit), ShardsText(*this));
  std::vector<std::string> written;
  for (const OfMask& mask : masks) {
    if (mask.file) written.push_back(*mask.file);
  }
  if (permutation) written.push_back(*permutation);
  if (!written.empty()) text += fmt::format("\nwrote {}\n", fmt::join(written, ", "));
  return text;
}

json::object BalanceReport::DescribeJson() const {
  json::object imbalances;
  for (const BalanceMethod method : kAllBalanceMethods) {
    json::value& of_method = imbalances[BalanceMethodName(method)] = nullptr;
    const auto balance = std::ranges::find(methods, method, &ShardBalance::method);
    if (balance == methods.end()) continue;
    of_method = json::object{{"blocks", Imbalance(balance->total.blocks)},
                             {"pairs", Imbalance(balance->total.pairs)},
                             {"visited_blocks", Sum(balance->total.blocks)}};
  }
  json::value q_ranges;  // Stripes have no longer ones than single positions.
  if (chosen.method != BalanceMethod::kStriped) {
    json::array& of_shards = q_ranges.emplace_array();
    for (int64_t shard = 0; shard < chosen.shards(); ++shard) {
      of_shards.push_back(RangesJson(chosen.RangesOf(shard)));
    }
  }
  return {{"q_len", shape.q_len},
          {"kv_len", shape.kv_len},
          {"block_q", block.q},
          {"block_kv", block.kv},
          {"shards", chosen.shards()},
          {"method", BalanceMethodName(chosen.method)},
          {"unit", WorkUnitName(unit)},
          {"imbalance", Imbalance(chosen.work(unit))},
          {"imbalance_before", Imbalance(methods.front().work(unit))},
          {"methods", std::move(imbalances)},
          {"work", WorkJson(chosen.total)},
          {"q_ranges", std::move(q_ranges)},
          {"masks", MasksJson(*this)},
          {"permutation", permutation ? json::value(*permutation) : nullptr}};
}

}  // namespace splashmask::cli
