// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which heads share a mask, and which share an entry of the tables.

#include <cstdint>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"

namespace splashmask::certify {

/// The tables have one entry along their first axis for each head shard when the heads of every
/// shard agree, else one for each head.
struct HeadEntries {
  std::vector<Mask> masks;             ///< Distinct, in order of first appearance.
  std::vector<int64_t> first_head;     ///< Of each distinct mask.
  std::vector<int64_t> mask_of_entry;  ///< Distinct mask of each entry.
  std::vector<int64_t> head_of_entry;  ///< First head of each entry.
  int64_t entries_per_shard = 1;       ///< Entries that one kernel walks through together.

  int64_t size() const { return static_cast<int64_t>(mask_of_entry.size()); }
};

/// `head_shards` has to divide the number of heads.
HeadEntries FindHeadEntries(const MultiHeadMask& mask, int64_t head_shards);

}  // namespace splashmask::certify
