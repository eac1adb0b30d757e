// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/tune_candidates.h"

#include <optional>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

std::vector<int64_t> Divisors(int64_t length, int64_t unit) {
  return MultiplesThatDivide(length, unit, unit, kLargestBlock);
}

}  // namespace

std::vector<int64_t> BlocksOfQ(int64_t q_len, bool q_in_lanes) {
  std::vector<int64_t> sizes = Divisors(q_len, kLanes);
  if (!sizes.empty()) return sizes;
  if (q_len <= kLargestBlock) return {q_len};
  return q_in_lanes ? sizes : Divisors(q_len, kSublanes);
}

std::vector<int64_t> BlocksOfKv(int64_t length) { return Divisors(length, kLanes); }

std::vector<BlockSizes> LayoutsToTry(const TuneOptions& options) {
  const auto choices = [](std::optional<QkvLayout> fixed) {
    if (fixed) return std::vector{*fixed};
    return std::vector{QkvLayout::kHeadDimMinor, QkvLayout::kSeqMinor};
  };
  std::vector<BlockSizes> all;
  for (const QkvLayout q : choices(options.q_layout)) {
    for (const QkvLayout k : choices(options.k_layout)) {
      for (const QkvLayout v : choices(options.v_layout)) {
        BlockSizes& layouts = all.emplace_back();
        layouts.q_layout = q;
        layouts.k_layout = k;
        layouts.v_layout = v;
      }
    }
  }
  return all;
}

}  // namespace splashmask
