// SPDX-License-Identifier: Apache-2.0
#pragma once
// q blocks dealt to shards so that the most loaded one has little. Private to cost.

#include <cstdint>
#include <span>
#include <vector>

namespace splashmask {

/// The blocks of each shard, [shards, work.size() / shards], ascending; the shards by their first
/// block. `work` is that of each block, none negative, with a sum in 64 bits; `shards` divides
/// their number. The longest processing time first: each block, the heaviest first, goes to the
/// least loaded shard that has room. Then blocks are exchanged for as long as one exchange of the
/// most loaded shard with another makes the more loaded of the two lighter. Depends on nothing but
/// its arguments.
std::vector<std::vector<int64_t>> DealBlocks(std::span<const int64_t> work, int64_t shards);

}  // namespace splashmask
