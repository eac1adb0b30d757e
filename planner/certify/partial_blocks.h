// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bits of partial blocks: drawn from the mask, and found among those that a plan stores.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/planner/certify/block_truth.h"
#include "splashmask/planner/certify/cells.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::certify {

/// Draws blocks as PartialMaskBlocks stores them. For one thread.
class BlockPainter {
 public:
  /// `transposed`: rows are kv positions, as dkv holds its blocks.
  BlockPainter(const BlockTruth& truth, bool transposed) : truth_(truth), transposed_(transposed) {}

  /// The packed bits of a block, pad bits 0; valid until the next call.
  const std::vector<std::byte>& Draw(const BlockAt& at);

 private:
  const BlockTruth& truth_;
  bool transposed_;
  int64_t mask_ = -1;  // Which mask reader_ reads.
  std::optional<CellReader> reader_;
  std::vector<std::byte> drawn_, turned_;
};

/// Writes the transpose of `rows` by `columns` packed bits. Pad bits of `bits` must be 0, those of
/// `out` will be.
void TransposeBits(const std::byte* bits, int64_t rows, int64_t columns, std::byte* out);

/// (q, kv) of the first cell of a block.
std::pair<int64_t, int64_t> FirstCell(const BlockTruth& truth, const BlockAt& at);

/// (q, kv) of a cell that shows `claimed` to be wrong for the class of this block.
std::pair<int64_t, int64_t> CellAgainst(const BlockTruth& truth, const BlockAt& at,
                                        int32_t claimed);

/// For each block of `truth`, by index: the lowest stored block that equals it bit for bit, pad
/// bits included, or -1 when there is none or the block is not partial.
std::vector<int32_t> MatchPartialBlocks(const BlockTruth& truth, const PartialMaskBlocks& stored,
                                        bool transposed, RowProgress& progress);

}  // namespace splashmask::certify
