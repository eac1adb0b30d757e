// SPDX-License-Identifier: Apache-2.0
#pragma once
// What plan --balance tells, as text and as JSON.

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/cost/balance.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::cli {

struct BalanceReport {
  /// One mask that was balanced.
  struct OfMask {
    std::string text;
    int64_t weight = 1;
    int64_t num_heads = 1;
    std::vector<PositionRanges> kv_ranges;  ///< That each shard needs.
    std::optional<std::string> file;        ///< Its plan.
  };

  Shape shape;
  BlockShape block;
  WorkUnit unit = WorkUnit::kBlocks;
  std::vector<OfMask> masks;
  std::vector<ShardBalance> methods;  ///< Those that there are.
  ShardBalance chosen;
  std::optional<std::string> permutation;  ///< A file.

  std::string Describe() const;
  boost::json::object DescribeJson() const;
};

}  // namespace splashmask::cli
