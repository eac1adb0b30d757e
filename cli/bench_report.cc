// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/bench_report.h"

#include <fmt/format.h>

#include <map>

#include "splashmask/cli/numbers.h"
#include "splashmask/masks/short_text.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

// "74.9 ms ± 2 %": half of what lies between the quickest and the slowest turn.
std::string TimeText(const Timing& timing) {
  return fmt::format("{:>10} ± {:.0f} %", Duration(timing.median()), 100 * timing.spread());
}

json::object TimeJson(const Timing& timing) {
  return {{"seconds", timing.median()}, {"spread", timing.spread()}};
}

}  // namespace

const std::vector<std::string>& PeerNames() {
  static const std::vector<std::string> names{"sdpa", "flex", "jax"};
  return names;
}

std::string PeerTitle(const std::string& name) {
  static const std::map<std::string, std::string> titles{{"sdpa", "torch SDPA"},
                                                         {"flex", "torch FlexAttention"},
                                                         {"jax", "jax.nn.dot_product_attention"}};
  return titles.at(name);
}

std::string MaskResult::Describe(double peak) const {
  std::string text =
      fmt::format("{}\n  {:<30} {}, {:.1f} GFLOP/s, {:.1f} % of the peak, {} of the pairs\n",
                  ShortMaskText(mask), "splashmask", TimeText(ours), ours.rate() / 1e9,
                  100 * ours.rate() / peak,
                  Percent(static_cast<double>(visible_pairs) / static_cast<double>(all_pairs)));
  for (const PeerResult& peer : peers) {
    const std::string title = PeerTitle(peer.name);
    if (peer.problem.empty()) {
      text +=
          fmt::format("  {:<30} {}, {:.2f} times as long; differs by {:.1e}\n", title,
                      TimeText(peer.timing), peer.timing.median() / ours.median(), peer.difference);
    } else {
      text += fmt::format("  {:<30} {}\n", title, peer.problem.substr(0, peer.problem.find('\n')));
    }
  }
  return text;
}

json::object MaskResult::DescribeJson(double peak) const {
  json::array described;
  for (const PeerResult& peer : peers) {
    json::object one{{"name", peer.name}, {"version", peer.version}};
    if (peer.problem.empty()) {
      for (const auto& [key, value] : TimeJson(peer.timing)) one[key] = value;
      one["ratio"] = peer.timing.median() / ours.median();
      one["difference"] = peer.difference;
      one["problem"] = nullptr;
    } else {
      one["seconds"] = one["spread"] = one["ratio"] = one["difference"] = nullptr;
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
