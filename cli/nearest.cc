// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/nearest.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace splashmask::cli {

std::string Nearest(const std::string& name, const std::vector<std::string>& known) {
  constexpr size_t kMostUnlike = 2;
  std::string nearest;
  size_t fewest = kMostUnlike + 1;
  for (const std::string& candidate : known) {
    const size_t shorter = std::min(name.size(), candidate.size());
    const auto head = std::mismatch(name.begin(), name.begin() + static_cast<int64_t>(shorter),
                                    candidate.begin());
    const auto alike = static_cast<size_t>(head.first - name.begin());
    const auto tail = std::mismatch(
        name.rbegin(), name.rbegin() + static_cast<int64_t>(shorter - alike), candidate.rbegin());
    const size_t unlike = std::max(name.size(), candidate.size()) - alike -
                          static_cast<size_t>(tail.first - name.rbegin());
    if (unlike < fewest) {
      fewest = unlike;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace splashmask::cli
