// SPDX-License-Identifier: Apache-2.0
#pragma once
// Blocks by their content. Private to compile.

#include <xxhash.h>

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <vector>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/planner/compile/block_grid.h"

namespace splashmask {

/// Of rows of bits that lie one after another.
inline uint64_t HashBits(BitRows bits, int64_t rows) {
  return XXH3_64bits(bits.words, static_cast<size_t>(rows * bits.stride) * sizeof(uint64_t));
}

/// Numbers of blocks, found by the hash of their bits.
class BlockIndex {
 public:
  /// A number added with this hash for which is_same(number) holds; kNone if there is none.
  template <typename IsSame>
  int32_t Find(uint64_t hash, const IsSame& is_same) const {
    const auto newest = newest_.find(hash);
    int32_t number = newest == newest_.end() ? kNone : newest->second;
    while (number != kNone && !is_same(number)) number = older_[number];
    return number;
  }

  /// Each number once.
  void Add(uint64_t hash, int32_t number) {
    if (number >= static_cast<int64_t>(older_.size())) older_.resize(number + 1, kNone);
    const auto [newest, inserted] = newest_.try_emplace(hash, number);
    if (inserted) return;
    older_[number] = newest->second;
    newest->second = number;
  }

 private:
  /// Numbers with one hash form a list: its newest, and before each the next older one or kNone.
  boost::unordered_flat_map<uint64_t, int32_t> newest_;
  std::vector<int32_t> older_;
};

}  // namespace splashmask
