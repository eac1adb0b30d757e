// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which q positions each of the shards gets, so that none has much more to do than the others.

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/part_work.h"

namespace splashmask {

/// How q positions go to n shards, as many to each.
enum class BalanceMethod : uint8_t {
  kContiguous,  ///< As they are: shard i gets piece i of n.
  kZigzag,      ///< `zigzag(n)`: shard i gets pieces i and 2n-1-i of 2n.
  kStriped,     ///< `striped(n)`: shard i gets the positions congruent to i modulo n.
  kLpt,         ///< Whole q blocks by their work, the longest processing time first.
};
inline constexpr BalanceMethod kAllBalanceMethods[] = {
    BalanceMethod::kContiguous, BalanceMethod::kZigzag, BalanceMethod::kStriped,
    BalanceMethod::kLpt};

/// "contiguous", "zigzag", "striped" or "lpt".
std::string_view BalanceMethodName(BalanceMethod method);
/// Throws kInvalidArgument for any other name.
BalanceMethod BalanceMethodFromName(std::string_view name);

/// What LPT balances, and whose imbalance counts. A TPU computes every block that it visits whole,
/// whether one pair of it is visible or all are: its time follows blocks.
enum class WorkUnit : uint8_t { kBlocks, kPairs };

/// "blocks" or "pairs".
std::string_view WorkUnitName(WorkUnit unit);
/// Throws kInvalidArgument for any other name.
WorkUnit WorkUnitFromName(std::string_view name);

/// Most / mean of the parts; 1 where nobody has any work.
double Imbalance(const std::vector<int64_t>& work);

/// The mask of some layers of a model.
struct WeightedMask {
  MultiHeadMask mask;
  int64_t weight = 1;  ///< How many layers have it, or as many to another mask's.
};

struct BalanceOptions {
  int64_t shards = 1;     ///< Over which q is sharded: q_seq_shards.
  int64_t block_q = 512;  ///< Times shards divides q_len.
  WorkUnit unit = WorkUnit::kBlocks;
};

struct ShardBalance {
  BalanceMethod method = BalanceMethod::kContiguous;
  Positions order;           ///< Of the q axis, for Mask::Reorder.
  Array permutation;         ///< int32[q_len]: row r has original position permutation[r].
  Array inverse;             ///< int32[q_len]: position p is in row inverse[p].
  bool keeps_blocks = true;  ///< Whether every q block holds the positions of a q block before.
  std::vector<PartWork> of_masks;  ///< [masks], each of [shards], unweighted.
  PartWork total;                  ///< [shards], weighted.

  int64_t shards() const { return static_cast<int64_t>(total.pairs.size()); }
  const std::vector<int64_t>& work(WorkUnit unit) const {
    return unit == WorkUnit::kBlocks ? total.blocks : total.pairs;
  }

  /// The positions of a shard, which ascend with its rows, as half-open ranges that do not touch.
  std::vector<std::pair<int64_t, int64_t>> RangesOf(int64_t shard) const;

  /// A mask of that q_len with its q positions in this order; kv positions stay.
  MultiHeadMask Reorder(const MultiHeadMask& mask) const;
};

/// Balances masks that the same shards compute one after another. Immutable once made, and as safe
/// to share between threads as `measure` is.
class ShardBalancer {
 public:
  /// The work of each q block of a mask, [q_len / block_q]. MeasureQBlocks
  /// (planner/compile/q_block_work.h) is one, for some block_kv.
  using Measure = std::function<PartWork(const MultiHeadMask&)>;

  /// Measures every mask. Throws kInvalidArgument for no masks, masks of different shapes, weights
  /// below 1, and shards and block_q whose product does not divide q_len; kTooLarge for a q_len
  /// beyond int32.
  ShardBalancer(std::vector<WeightedMask> masks, const BalanceOptions& options, Measure measure);

  /// Measures the reordered masks where their q blocks are not those of before. Throws
  /// kInvalidArgument for zigzag where twice the shards do not divide q_len, kTooLarge for weighted
  /// work beyond 64 bits.
  ShardBalance Balance(BalanceMethod method) const;

 private:
  Positions OrderOf(BalanceMethod method) const;
  std::vector<int64_t> WeightedWork() const;

  std::vector<WeightedMask> masks_;
  BalanceOptions options_;
  Measure measure_;
  std::vector<PartWork> of_blocks_;  // Of each mask, [q_len / block_q].
};

}  // namespace splashmask
