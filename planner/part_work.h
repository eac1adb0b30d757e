// SPDX-License-Identifier: Apache-2.0
#pragma once
// What attention over parts of the q rows costs.

#include <cstdint>
#include <vector>

namespace splashmask {

/// The work of consecutive parts of the q rows, blocks or shards, over all heads. One entry a part.
struct PartWork {
  std::vector<int64_t> pairs;   ///< That the mask lets through.
  std::vector<int64_t> blocks;  ///< That the kernel visits: it computes each of them whole.

  friend bool operator==(const PartWork&, const PartWork&) = default;
};

}  // namespace splashmask
