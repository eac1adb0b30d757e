// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/same_pairs.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "splashmask/kernels/fast/block_cells.h"
#include "splashmask/kernels/fast/computed_mask.h"
#include "splashmask/kernels/grid.h"

namespace splashmask::fast {

namespace {

// What a pass's tables say of each block of a head, and of the cells in it.
class CellsOfPass {
 public:
  CellsOfPass(const Plan& plan, Pass pass)
      : grid_(plan, pass),
        is_dkv_(pass == Pass::kDkv),
        shape_(plan.mask.shape()),
        compiled_(*plan.pass(pass)) {
    if (const auto& blocks = compiled_.info.partial_mask_blocks; blocks && is_dkv_) {
      cells_ = std::make_unique<TransposedCells>(*blocks);
    } else if (blocks) {
      cells_ = std::make_unique<StoredCells>(*blocks);
    }
  }

  struct Said {
    int32_t block_class = 0, stored = 0;
    friend auto operator<=>(const Said&, const Said&) = default;
  };

  // False when a block of the head is visited twice.
  bool ReadHead(int64_t head) {
    said_.assign(static_cast<size_t>(shape_.q_len / block().q * kv_blocks()), {});
    const auto& shape = grid_.shape();
    const int64_t heads = is_dkv_ ? shape[1] : shape[0], others = is_dkv_ ? shape[0] : shape[1];
    for (int64_t q_shard = 0; q_shard < grid_.q_seq_shards(); ++q_shard) {
      for (int64_t i = 0; i < others; ++i) {
        for (int64_t j = 0; j < shape[2]; ++j) {
          const GridStep step = is_dkv_ ? grid_.At(head / heads, q_shard, {i, head % heads, j})
                                        : grid_.At(head / heads, q_shard, {head % heads, i, j});
          if (step.block_class == 0) continue;
          Said& said = said_[static_cast<size_t>(step.q_block * kv_blocks() + step.kv_block)];
          if (said.block_class != 0) return false;
          said = {step.block_class, step.stored};
        }
      }
    }
    return true;
  }

  BlockShape block() const { return compiled_.block; }

  // Of the block that has the cell (q, kv).
  Said At(int64_t q, int64_t kv) const {
    return said_[static_cast<size_t>(q / block().q * kv_blocks() + kv / block().kv)];
  }

  // Cells of one block, as TileCells has them; none or all where the tables say so.
  Drawn Draw(int64_t q, int64_t rows, int64_t kv, int64_t count, uint64_t* lanes) {
    const Said said = At(q, kv);
    if (said.block_class == 0) return Drawn::kNone;
    if (said.block_class == 2) return Drawn::kAll;
    if (compiled_.mask_function) {
      if (!analysis_) analysis_ = AnalyzeFunction(compiled_);  // It may be a user's, and slow.
      return ComputedCells(*analysis_).Draw(0, q, rows, kv, count, lanes);
    }
    return cells_->Draw(said.stored, q % block().q, rows, kv % block().kv, count, lanes);
  }

 private:
  int64_t kv_blocks() const { return shape_.kv_len / block().kv; }

  const Grid grid_;
  const bool is_dkv_;
  const Shape shape_;
  const CompiledPass& compiled_;
  std::unique_ptr<const Analysis> analysis_;
  std::unique_ptr<const TileCells> cells_;
  std::vector<Said> said_;  // [q blocks][kv blocks]
};

// Where blocks of either length begin, and the end of all.
std::vector<int64_t> Cuts(int64_t length, int64_t a, int64_t b) {
  std::vector<int64_t> cuts;
  for (const int64_t block : {a, b}) {
    for (int64_t at = 0; at < length; at += block) cuts.push_back(at);
  }
  cuts.push_back(length);
  std::ranges::sort(cuts);
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  return cuts;
}

// A rectangle that lies in one block of either pass.
bool AreEqual(CellsOfPass& dq, CellsOfPass& dkv, int64_t q_begin, int64_t q_end, int64_t kv_begin,
              int64_t kv_end) {
  // What is drawn at once, on both sides from a multiple of 8 of a block on.
  constexpr int64_t kRows = 64, kPositions = 128;
  uint64_t left[kPositions], right[kPositions];
  for (int64_t q = q_begin; q < q_end; q += kRows) {
    const int64_t rows = std::min(kRows, q_end - q);
    for (int64_t kv = kv_begin; kv < kv_end; kv += kPositions) {
      const int64_t count = std::min(kPositions, kv_end - kv);
      const Drawn drawn = dq.Draw(q, rows, kv, count, left);
      if (drawn != dkv.Draw(q, rows, kv, count, right)) return false;
      if (drawn == Drawn::kSome && !std::equal(left, left + count, right)) return false;
    }
  }
  return true;
}

bool HasSameFunction(const CompiledPass& dq, const CompiledPass& dkv) {
  return dq.mask_function && dq.mask_function == dkv.mask_function &&
         dq.info.q_sequence == dkv.info.q_sequence;
}

}  // namespace

bool DqAndDkvSeeTheSame(const Plan& plan) {
  CellsOfPass dq(plan, Pass::kDq), dkv(plan, Pass::kDkv);
  const BlockShape a = dq.block(), b = dkv.block();
  const Shape shape = plan.mask.shape();
  const std::vector<int64_t> rows = Cuts(shape.q_len, a.q, b.q);
  const std::vector<int64_t> columns = Cuts(shape.kv_len, a.kv, b.kv);
  // Bits of either side are read from whole bytes on.
  if (a != b && (a.q % 8 != 0 || a.kv % 8 != 0 || b.q % 8 != 0 || b.kv % 8 != 0)) return false;
  const bool is_same_function = HasSameFunction(*plan.dq, *plan.dkv);
  // Pairs of stored blocks, and where in them, that are known to be equal.
  std::set<std::tuple<CellsOfPass::Said, int64_t, int64_t, CellsOfPass::Said, int64_t, int64_t>>
      known;
  const int64_t heads = plan.mask.num_heads();
  const int64_t dq_entries = plan.dq->info.block_mask->shape()[0];
  const bool has_same_entries = dq_entries == plan.dkv->info.block_mask->shape()[0];
  const int64_t step = has_same_entries ? heads / dq_entries : 1;
  for (int64_t head = 0; head < heads; head += step) {
    if (!dq.ReadHead(head) || !dkv.ReadHead(head)) return false;
    for (size_t i = 0; i + 1 < rows.size(); ++i) {
      for (size_t j = 0; j + 1 < columns.size(); ++j) {
        const int64_t q = rows[i], kv = columns[j];
        const CellsOfPass::Said left = dq.At(q, kv), right = dkv.At(q, kv);
        const bool is_clear = left.block_class != 1 && right.block_class != 1;
        if (is_clear && left.block_class != right.block_class) return false;
        if (is_clear || (is_same_function && left.block_class == right.block_class)) continue;
        const bool is_stored = !plan.dq->mask_function && !plan.dkv->mask_function;
        const std::tuple key(left, q % a.q, kv % a.kv, right, q % b.q, kv % b.kv);
        if (is_stored && known.contains(key)) continue;
        if (!AreEqual(dq, dkv, q, rows[i + 1], kv, columns[j + 1])) return false;
        if (is_stored) known.insert(key);
      }
    }
  }
  return true;
}

}  // namespace splashmask::fast
