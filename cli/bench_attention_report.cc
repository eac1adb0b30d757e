// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/bench_attention_report.h"

#include <fmt/format.h>

#include "splashmask/cli/numbers.h"
#include "splashmask/masks/short_text.h"

namespace json = boost::json;

namespace splashmask::cli {

std::string AttentionResult::Describe(double peak) const {
  std::string text =
      fmt::format("{}\n  {:<30} {}, {:.1f} GFLOP/s, {:.1f} % of the peak, {} of the pairs\n",
                  ShortMaskText(mask), "splashmask", TimeText(ours), ours.rate() / 1e9,
                  100 * ours.rate() / peak,
                  Percent(static_cast<double>(visible_pairs) / static_cast<double>(all_pairs)));
  for (const AttentionPeerResult& peer : peers) {
    if (peer.problem.empty()) {
      text +=
          fmt::format("  {:<30} {}, {:.2f} times as long; differs by {:.1e}\n", peer.title,
                      TimeText(peer.timing), peer.timing.median() / ours.median(), peer.difference);
    } else {
      text += fmt::format("  {:<30} {}\n", peer.title, peer.ProblemText());
    }
  }
  return text;
}

json::object AttentionResult::DescribeJson(double peak) const {
  json::array described;
  for (const AttentionPeerResult& peer : peers) {
    json::object one{{"name", peer.name}, {"version", peer.version}};
    const bool has_time = peer.problem.empty();
    for (const auto& [key, value] : TimeJson(has_time ? peer.timing : Timing())) one[key] = value;
    if (has_time) {
      one["ratio"] = peer.timing.median() / ours.median();
      one["difference"] = peer.difference;
      one["problem"] = nullptr;
    } else {
      one["ratio"] = one["difference"] = nullptr;
      one["problem"] = peer.problem;
    }
    described.push_back(one);
  }
  json::object result{{"mask", mask}, {"visible_pairs", visible_pairs}};
  for (const auto& [key, value] : TimeJson(ours)) result[key] = value;
  result["gflops"] = ours.rate() / 1e9;
  result["share_of_peak"] = ours.rate() / peak;
  result["peers"] = described;
  return result;
}

}  // namespace splashmask::cli
