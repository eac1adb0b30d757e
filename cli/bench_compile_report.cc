// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/bench_compile_report.h"

#include <fmt/format.h>

#include <cmath>

#include "splashmask/cli/numbers.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/masks/short_text.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

// Lists of documents are long.
std::string CutText(const std::string& text) {
  constexpr size_t kMost = 100;
  return text.size() <= kMost ? text : text.substr(0, kMost - 3) + "...";
}

// Three digits, or all of a whole number: "1.53", "72.5", "12,345".
std::string Times(double ratio) {
  if (ratio >= 100) return Grouped(std::llround(ratio));
  return fmt::format("{:.{}f}", ratio, ratio < 10 ? 2 : 1);
}

std::string PeerText(const CompilePeerResult& peer) {
  if (!peer.problem.empty()) return peer.ProblemText();
  // JAX's tables are those that the line above is about.
  const std::string of =
      peer.name == "jax" ? "" : fmt::format(" as splashmask's {}", Duration(peer.ours.median()));
  if (peer.over) {
    return fmt::format("over {}, more than {} times as long{}", Duration(*peer.over),
                       Times(*peer.over / peer.ours.median()), of);
  }
  return fmt::format("{}, {} times as long{}", TimeText(peer.timing),
                     Times(peer.timing.median() / peer.ours.median()), of);
}

json::object PeerJson(const CompilePeerResult& peer) {
  const bool has_time = peer.problem.empty() && !peer.over;
  json::object one{{"name", peer.name}, {"version", peer.version}};
  for (const auto& [key, value] : TimeJson(has_time ? peer.timing : Timing())) one[key] = value;
  one["turns"] = has_time ? peer.timing.seconds.size() : 0;
  one["ratio"] = one["over_seconds"] = one["over_ratio"] = one["our_seconds"] = nullptr;
  if (has_time) one["ratio"] = peer.timing.median() / peer.ours.median();
  if (peer.problem.empty()) one["our_seconds"] = peer.ours.median();
  if (peer.problem.empty() && peer.over) {
    one["over_seconds"] = *peer.over;
    one["over_ratio"] = *peer.over / peer.ours.median();
  }
  one["problem"] = peer.problem.empty() ? json::value(nullptr) : json::value(peer.problem);
  return one;
}

}  // namespace

std::string CompileResult::Describe() const {
  std::string text = fmt::format(
      "{}\n  {:<22} {}; {} distinct partial block{}, {} of tables, which take {} to write\n",
      CutText(ShortMaskText(mask)), "splashmask", TimeText(ours), Grouped(partial_blocks),
      partial_blocks == 1 ? "" : "s", Bytes(table_bytes), Duration(write.median()));
  for (const CompilePeerResult& peer : peers) {
    text += fmt::format("  {:<22} {}\n", peer.title, PeerText(peer));
  }
  return text;
}

json::object CompileResult::DescribeJson() const {
  json::object result{{"mask", mask}, {"heads", heads}};
  for (const auto& [key, value] : TimeJson(ours)) result[key] = value;
  result["write_seconds"] = write.median();
  result["partial_blocks"] = partial_blocks;
  result["table_bytes"] = table_bytes;
  json::array described;
  for (const CompilePeerResult& peer : peers) described.push_back(PeerJson(peer));
  result["peers"] = described;
  return result;
}

}  // namespace splashmask::cli
