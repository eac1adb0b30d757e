// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a plan's tables say about the grid of blocks: its classes, laid out and counted.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// Blocks of one head's grid, or of several added up, by class.
struct BlockCounts {
  int64_t empty = 0, partial = 0, full = 0;

  int64_t visited() const { return partial + full; }
  int64_t total() const { return empty + visited(); }
  /// The share of cells in blocks that the kernel visits, in [0, 1].
  double density() const {
    return total() == 0 ? 0 : static_cast<double>(visited()) / static_cast<double>(total());
  }
  BlockCounts& operator+=(const BlockCounts& other);
  friend bool operator==(const BlockCounts&, const BlockCounts&) = default;
};

/// One head's whole grid, q_blocks rows by kv_blocks columns, whether or not its tables are shrunk.
struct BlockClassGrid {
  int64_t q_blocks = 0, kv_blocks = 0;
  std::vector<BlockClass> classes;  ///< [q_blocks, kv_blocks], C order.

  BlockClass At(int64_t q_block, int64_t kv_block) const {
    return classes[static_cast<size_t>(q_block * kv_blocks + kv_block)];
  }
};

/// The counts of each head, [num_heads]. A shrunk table leaves empty blocks out; they count here.
/// Throws kInvalidArgument when the plan has no such pass, kDamaged when its tables contradict it,
/// kTooLarge when there are more blocks than 64 bits count (or, to lay them out, than memory
/// holds).
std::vector<BlockCounts> CountBlocks(const Plan& plan, Pass pass);

/// The grid of one head. Its rows are q positions as the mask has them, in every pass; a shrunk
/// table's blocks are put back where data_next says they belong. Throws as CountBlocks does, and
/// kInvalidArgument for a head that is not in [0, num_heads).
BlockClassGrid LayOutBlocks(const Plan& plan, Pass pass, int64_t head);

/// The same for a pass in tokamax's dialect, whose heads are all alike. Without lists all blocks
/// are full.
BlockCounts CountTokamaxBlocks(const Plan& plan, Pass pass);
BlockClassGrid LayOutTokamaxBlocks(const Plan& plan, Pass pass);

/// A pass as plan files name it, its grid, and the shape of its blocks.
struct PassGrid {
  std::string path;
  BlockShape block;
  BlockClassGrid grid;
};

/// The same for a pass as plan files name it: "fwd", "dq", "dkv", "tokamax/fwd" or "tokamax/dkv";
/// without one, the first that the plan has. Throws kInvalidArgument for any other name.
PassGrid LayOutBlocks(const Plan& plan, std::optional<std::string> named, int64_t head);

/// The counts of a grid.
BlockCounts CountBlocks(const BlockClassGrid& grid);

}  // namespace splashmask
