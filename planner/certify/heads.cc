// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/heads.h"

#include <algorithm>
#include <cstddef>
#include <unordered_map>

#include "splashmask/masks/head_identity.h"

namespace splashmask::certify {

HeadEntries FindHeadEntries(const MultiHeadMask& mask, int64_t head_shards) {
  HeadEntries heads;
  std::vector<int64_t> mask_of_head;
  // Heads mostly share a node, which spares hashing and comparing what it refers to.
  std::unordered_map<const MaskNode*, int64_t> by_node;
  std::unordered_multimap<size_t, int64_t> by_hash;
  std::vector<Mask> identities;
  for (const Mask& head_mask : mask.masks()) {
    const auto [seen, is_new] = by_node.try_emplace(&head_mask.node(), 0);
    if (is_new) {
      const Mask identity = HeadIdentity(head_mask);
      const size_t hash = identity.Hash();
      const auto [begin, end] = by_hash.equal_range(hash);
      const auto equal = std::find_if(begin, end, [&](const auto& candidate) {
        return identities[static_cast<size_t>(candidate.second)] == identity;
      });
      if (equal == end) {
        seen->second = std::ssize(heads.masks);
        by_hash.emplace(hash, seen->second);
        identities.push_back(identity);
        heads.masks.push_back(head_mask);
        heads.first_head.push_back(std::ssize(mask_of_head));
      } else {
        seen->second = equal->second;
      }
    }
    mask_of_head.push_back(seen->second);
  }

  const int64_t heads_per_shard = mask.num_heads() / head_shards;
  bool shards_agree = true;
  for (size_t head = 0; head < mask_of_head.size(); ++head) {
    const size_t first = head - head % static_cast<size_t>(heads_per_shard);
    shards_agree &= mask_of_head[head] == mask_of_head[first];
  }
  heads.entries_per_shard = shards_agree ? 1 : heads_per_shard;
  const int64_t heads_per_entry = shards_agree ? heads_per_shard : 1;
  for (int64_t head = 0; head < mask.num_heads(); head += heads_per_entry) {
    heads.mask_of_entry.push_back(mask_of_head[static_cast<size_t>(head)]);
    heads.head_of_entry.push_back(head);
  }
  return heads;
}

}  // namespace splashmask::certify
