// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/same_pairs.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "splashmask/kernels/fast/block_cells.h"
#include "splashmask/kernels/fast/column_visits.h"
#include "splashmask/kernels/grid.h"

namespace splashmask::fast {

namespace {

// What a pass says of each block of a head.
struct Said {
  int32_t block_class = 0, stored = 0;
};

// [q blocks][kv blocks], in `said`; false when a block is visited twice.
bool ReadBlocks(const Grid& grid, bool is_dkv, int64_t head, int64_t kv_blocks,
                std::vector<Said>& said) {
  const auto& shape = grid.shape();
  const int64_t heads = is_dkv ? shape[1] : shape[0];
  const int64_t others = is_dkv ? shape[0] : shape[1];
  for (int64_t q_shard = 0; q_shard < grid.q_seq_shards(); ++q_shard) {
    for (int64_t i = 0; i < others; ++i) {
      for (int64_t j = 0; j < shape[2]; ++j) {
        const GridStep step = is_dkv ? grid.At(head / heads, q_shard, {i, head % heads, j})
                                     : grid.At(head / heads, q_shard, {head % heads, i, j});
        if (step.block_class == 0) continue;
        Said& block = said[static_cast<size_t>(step.q_block * kv_blocks + step.kv_block)];
        if (block.block_class != 0) return false;
        block = {step.block_class, step.stored};
      }
    }
  }
  return true;
}

bool AreTransposed(const PartialMaskBlocks& dq, int64_t dq_id, const PartialMaskBlocks& dkv,
                   int64_t dkv_id) {
  constexpr int64_t kRows = 64, kPositions = 128;  // What is drawn at once.
  const StoredCells by_dq(dq);
  const TransposedCells by_dkv(dkv);
  uint64_t left[kPositions], right[kPositions];
  for (int64_t row = 0; row < dq.rows(); row += kRows) {
    const int64_t rows = std::min(kRows, dq.rows() - row);
    for (int64_t kv = 0; kv < dq.columns(); kv += kPositions) {
      const int64_t count = std::min(kPositions, dq.columns() - kv);
      const Drawn drawn = by_dq.Draw(dq_id, row, rows, kv, count, left);
      if (drawn != by_dkv.Draw(dkv_id, row, rows, kv, count, right)) return false;
      if (drawn == Drawn::kSome && !std::equal(left, left + count, right)) return false;
    }
  }
  return true;
}

}  // namespace

bool DqAndDkvSeeTheSame(const Plan& plan) {
  const CompiledPass &dq = *plan.dq, &dkv = *plan.dkv;
  if (dq.block != dkv.block || dq.mask_function != dkv.mask_function ||
      (dq.mask_function && dq.info.q_sequence != dkv.info.q_sequence)) {
    return false;
  }
  const bool is_stored = dq.info.partial_mask_blocks && dkv.info.partial_mask_blocks;
  const Grid dq_grid(plan, Pass::kDq), dkv_grid(plan, Pass::kDkv);
  const Shape shape = plan.mask.shape();
  const int64_t kv_blocks = shape.kv_len / dq.block.kv;
  const auto blocks = static_cast<size_t>(shape.q_len / dq.block.q * kv_blocks);
  // The stored block of dq that each of dkv is known to be.
  std::vector<int64_t> known(
      is_stored ? static_cast<size_t>(dkv.info.partial_mask_blocks->count()) : 0, -1);
  const int64_t dq_entries = dq.info.block_mask->shape()[0];
  const int64_t dkv_entries = dkv.info.block_mask->shape()[0];
  const int64_t heads = plan.mask.num_heads();
  const int64_t entries = dq_entries == dkv_entries ? dq_entries : heads;
  std::vector<Said> by_dq, by_dkv;
  for (int64_t entry = 0; entry < entries; ++entry) {
    const int64_t head = entry * (heads / entries);
    by_dq.assign(blocks, {});
    by_dkv.assign(blocks, {});
    if (!ReadBlocks(dq_grid, false, head, kv_blocks, by_dq) ||
        !ReadBlocks(dkv_grid, true, head, kv_blocks, by_dkv)) {
      return false;
    }
    for (size_t i = 0; i < blocks; ++i) {
      if (by_dq[i].block_class != by_dkv[i].block_class) return false;
      if (by_dq[i].block_class != 1 || !is_stored) continue;
      int64_t& same = known[static_cast<size_t>(by_dkv[i].stored)];
      if (same == by_dq[i].stored) continue;
      if (!AreTransposed(*dq.info.partial_mask_blocks, by_dq[i].stored,
                         *dkv.info.partial_mask_blocks, by_dkv[i].stored)) {
        return false;
      }
      same = by_dq[i].stored;
    }
  }
  return true;
}

}  // namespace splashmask::fast
