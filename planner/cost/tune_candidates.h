// SPDX-License-Identifier: Apache-2.0
#pragma once
// The blocks and layouts among which the fastest are looked for. Private to planner/cost.

#include <cstdint>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/tune.h"

namespace splashmask {

/// Legal sizes along q, ascending, up to kLargestBlock: multiples of 128, else all of q, else (only
/// where q lies in sublanes) multiples of 8.
std::vector<int64_t> BlocksOfQ(int64_t q_len, bool q_in_lanes);

/// Legal sizes of a block of `length` kv positions, up to kLargestBlock: multiples of 128.
std::vector<int64_t> BlocksOfKv(int64_t length);

/// The combinations of layouts that the options leave, without sizes.
std::vector<BlockSizes> LayoutsToTry(const TuneOptions& options);

}  // namespace splashmask
