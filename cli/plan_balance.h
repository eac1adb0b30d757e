// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which q positions each shard gets, and plans for the reordered masks.

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/exit_code.h"
#include "splashmask/cli/mask_argument.h"

namespace splashmask::cli {

struct BalanceArguments {
  std::vector<std::string> masks;  ///< In their text form.
  std::vector<int64_t> weights;    ///< Of each mask; none: all 1.
  MaskLengths lengths;
  int64_t block_q = 512, block_kv = 512;
  std::optional<int64_t> shards;
  std::string method = "lpt";
  std::string unit = "blocks";
  std::vector<std::string> outputs;  ///< None, or a plan file for each mask.
  std::optional<std::string> permutation;
  int threads = 0;

  friend bool operator==(const BalanceArguments&, const BalanceArguments&) = default;
};

/// Prints the imbalance of every method, and of the one that was asked for the work, the q
/// positions and the kv positions of each shard; writes its permutation, and the plans of the masks
/// in that order. Throws kInvalidArgument, and as ShardBalancer, Compile, WritePlan and WriteNpy
/// do.
ExitCode PlanBalance(const BalanceArguments& arguments, bool as_json,
                     const std::atomic<bool>& stop);

}  // namespace splashmask::cli
