// SPDX-License-Identifier: Apache-2.0
#pragma once
// What JAX's process_mask and process_mask_dkv put into the tables, from the truth about blocks.

#include <cstdint>
#include <vector>

#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/plan.h"

namespace splashmask::certify {

/// What one (row, column) of a pass's tables stands for.
struct Place {
  enum class Kind : uint8_t {
    kBlock,  ///< A block of the mask.
    kEdge,   ///< Padding beside that block: it repeats its next entries, and is an empty block.
    kPad,    ///< Padding: 0 in every table.
  };
  Kind kind = Kind::kBlock;
  int64_t q_block = 0, kv_block = 0;
};

/// Where the blocks of a pass lie in its tables. Shrinking leaves out the empty ones: fwd and dq
/// move the others of a row to the left, dkv moves those of a column, inside each q shard, to the
/// bottom. What is missing to the longest line of the q shard is kPad, and what is missing to the
/// longest of all q shards follows as an edge. At least one line is left.
class TableLayout {
 public:
  /// `shrink` needs a truth of one mask.
  TableLayout(const BlockTruth& truth, bool is_dkv, bool shrink, int64_t q_seq_shards);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  Place At(int64_t row, int64_t column) const;

 private:
  void Shrink(const BlockTruth& truth, int64_t q_seq_shards);

  bool is_dkv_;
  int64_t q_blocks_per_shard_;
  int64_t rows_, columns_;
  int64_t rows_per_shard_;
  // [rows, columns] when shrunk, else empty. A block's place along the shrunk axis (in its q shard,
  // for dkv); -1 for kPad; -2 - place for kEdge.
  std::vector<int32_t> slots_;
};

/// Everything that the tables of one pass depend on.
struct TableInput {
  const BlockTruth& truth;
  const HeadEntries& heads;
  const TableLayout& layout;
  const PlanOptions& options;
  bool is_dkv;
};

/// Values in C order, [heads.size(), layout.rows(), layout.columns()].
std::vector<int32_t> ExpectedBlockMask(const TableInput& input);
std::vector<int32_t> ExpectedDataNext(const TableInput& input);
/// `ids`: the partial block of each block of the truth, by index.
std::vector<int32_t> ExpectedMaskNext(const TableInput& input, const std::vector<int32_t>& ids);

/// The dtype that a table of these values, none negative, has.
DType ExpectedDType(const std::vector<int32_t>& values, bool downcast_smem_data);

}  // namespace splashmask::certify
