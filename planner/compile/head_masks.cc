// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/head_masks.h"

#include <algorithm>

namespace splashmask {

namespace {

// The index of each head's mask in `unique`, which grows.
std::vector<int> Uniquify(const std::vector<Mask>& masks, std::vector<Mask>* unique) {
  std::vector<int> ids;
  ids.reserve(masks.size());
  for (const Mask& mask : masks) {
    const auto found = std::find(unique->begin(), unique->end(), mask);
    ids.push_back(static_cast<int>(found - unique->begin()));
    if (found == unique->end()) unique->push_back(mask);
  }
  return ids;
}

}  // namespace

std::vector<int> HeadMasks::Shard(int64_t shard) const {
  const auto begin = table_heads.begin() + shard * heads_per_shard();
  return std::vector<int>(begin, begin + heads_per_shard());
}

HeadMasks GroupHeads(const MultiHeadMask& mask, int64_t head_shards) {
  HeadMasks result;
  result.head_shards = head_shards;
  const std::vector<int> ids = Uniquify(mask.masks(), &result.unique);
  const int64_t heads_per_shard = mask.num_heads() / head_shards;

  bool one_mask_a_shard = true;
  for (int64_t head = 0; head < mask.num_heads(); ++head) {
    one_mask_a_shard &= ids[head] == ids[head / heads_per_shard * heads_per_shard];
  }
  if (!one_mask_a_shard) {
    result.table_heads = ids;
    return result;
  }
  for (int64_t shard = 0; shard < head_shards; ++shard) {
    result.table_heads.push_back(ids[shard * heads_per_shard]);
  }
  return result;
}

}  // namespace splashmask
