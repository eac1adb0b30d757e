// SPDX-License-Identifier: Apache-2.0
#pragma once
// Seconds that work took, several times over.

#include <algorithm>
#include <chrono>
#include <vector>

namespace splashmask::cli {

template <typename Work>
double SecondsOf(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

struct Timing {
  std::vector<double> seconds;
  double flops = 0;  ///< Of one run.

  double median() const {
    std::vector<double> sorted = seconds;
    std::ranges::sort(sorted);
    return sorted[sorted.size() / 2];
  }
  double rate() const { return flops / median(); }
  /// Half of what lies between the quickest and the slowest, as a share of the median.
  double spread() const {
    const auto [least, most] = std::ranges::minmax(seconds);
    return (most - least) / 2 / median();
  }
};

}  // namespace splashmask::cli
