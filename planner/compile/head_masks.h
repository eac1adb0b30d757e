// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which heads share a mask, and how heads fall into shards. Private to compile.

#include <cstdint>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"

namespace splashmask {

struct HeadMasks {
  std::vector<Mask> unique;         ///< In the order of the first head that has each.
  std::vector<int64_t> first_head;  ///< Of each of them.
  /// One entry for each head of the tables (axis 0): the index of its mask. There is one such head
  /// a shard when no shard holds two masks, otherwise one for each head of the mask.
  std::vector<int> table_heads;
  int64_t head_shards = 1;

  bool one_mask_a_shard() const { return static_cast<int64_t>(table_heads.size()) == head_shards; }
  int64_t heads_per_shard() const { return static_cast<int64_t>(table_heads.size()) / head_shards; }
  /// The masks of one shard's table heads, in order.
  std::vector<int> Shard(int64_t shard) const;
};

/// Groups the heads as JAX does: masks are compared by their HeadIdentity. `head_shards` divides
/// the heads.
HeadMasks GroupHeads(const MultiHeadMask& mask, int64_t head_shards);

}  // namespace splashmask
