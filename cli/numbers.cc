// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace splashmask::cli {

std::string Bytes(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} byte{}", bytes, bytes == 1 ? "" : "s");
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double scaled = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (scaled >= 1023.95) {
    scaled /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", scaled, kUnits[unit]);
}

std::string Percent(double share) {
  if (share <= 0) return "0 %";
  if (share >= 1) return "100 %";
  return fmt::format("{:.1f} %", std::clamp(share * 100, 0.1, 99.9));
}

std::string Duration(double seconds) {
  const char* unit = "s";
  double value = seconds;
  for (const char* smaller : {"ms", "µs"}) {
    if (value >= 0.9995) break;
    value *= 1000;
    unit = smaller;
  }
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", value, decimals, unit);
}

std::string Ranges(const std::vector<std::pair<int64_t, int64_t>>& ranges, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(most, ranges.size()); ++i) {
    const auto [begin, end] = ranges[i];
    if (i > 0) text += ", ";
    text +=
        end - begin == 1 ? Grouped(begin) : fmt::format("{}..{}", Grouped(begin), Grouped(end - 1));
  }
  if (ranges.size() > most) text += ", ...";
  return text;
}

int64_t CountPositions(const std::vector<std::pair<int64_t, int64_t>>& ranges) {
  int64_t count = 0;
  for (const auto& [begin, end] : ranges) count += end - begin;
  return count;
}

std::string Heads(const std::vector<int64_t>& heads, int64_t num_heads) {
  if (static_cast<int64_t>(heads.size()) == num_heads) {
    return num_heads == 1 ? "the one head" : fmt::format("all {} heads", Grouped(num_heads));
  }
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const int64_t head : heads) {
    if (ranges.empty() || ranges.back().second != head) ranges.emplace_back(head, head);
    ++ranges.back().second;
  }
  return fmt::format("head{} {}", heads.size() == 1 ? "" : "s", Ranges(ranges));
}

}  // namespace splashmask::cli
