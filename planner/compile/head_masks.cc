// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/head_masks.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>

#include "splashmask/masks/head_identity.h"

namespace splashmask {

namespace {

// The index of each head's mask in `unique`, which grows, and so does `first_head`.
std::vector<int> Uniquify(const std::vector<Mask>& masks, std::vector<Mask>* unique,
                          std::vector<int64_t>* first_head) {
  std::vector<Mask> identities;
  boost::unordered_flat_map<const MaskNode*, int> by_node;  // Heads mostly share a node.
  std::vector<int> ids;
  ids.reserve(masks.size());
  for (const Mask& mask : masks) {
    const auto [entry, is_new] = by_node.try_emplace(&mask.node(), 0);
    if (is_new) {
      const auto add = [&] {
        unique->push_back(mask);
        first_head->push_back(std::ssize(ids));
      };
      if (unique->empty()) {  // What identifies it matters only beside another.
        add();
      } else {
        if (identities.empty()) identities.push_back(HeadIdentity(unique->front()));
        const Mask identity = HeadIdentity(mask);
        const auto found = std::find(identities.begin(), identities.end(), identity);
        entry->second = static_cast<int>(found - identities.begin());
        if (found == identities.end()) {
          identities.push_back(identity);
          add();
        }
      }
    }
    ids.push_back(entry->second);
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
  const std::vector<int> ids = Uniquify(mask.masks(), &result.unique, &result.first_head);
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
