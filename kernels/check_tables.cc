// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/check_tables.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <string>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

class TableCheck {
 public:
  TableCheck(const Plan& plan, Pass pass)
      : plan_(plan), pass_(pass), compiled_(*plan.pass(pass)), info_(compiled_.info) {}

  void Run() const {
    const Shape shape = plan_.mask.shape();
    const BlockShape block = compiled_.block;
    if (shape.q_len > kMostPositions || shape.kv_len > kMostPositions) {
      throw Error(ErrorCode::kTooLarge,
                  fmt::format("[attention] expected at most {} positions, got {} x {}",
                              kMostPositions, shape.q_len, shape.kv_len));
    }
    const int64_t shards = plan_.options.q_seq_shards;
    Require(block.q >= 1 && block.kv >= 1 && shards >= 1 && shape.q_len % shards == 0 &&
                shape.q_len / shards % block.q == 0 && shape.kv_len % block.kv == 0,
            "blocks and shards that divide the mask");
    Require(info_.block_mask && info_.data_next && !info_.is_dynamic_mask,
            "block_mask and data_next");
    const auto [entries, rows, columns] = info_.block_mask->shape();
    const int64_t q_blocks = shape.q_len / block.q, kv_blocks = shape.kv_len / block.kv;
    const bool is_dkv = pass_ == Pass::kDkv;
    Require(entries >= 1 && plan_.mask.num_heads() % entries == 0 &&
                (is_dkv ? rows % shards == 0 && columns == kv_blocks : rows == q_blocks) &&
                info_.data_next->shape() == info_.block_mask->shape(),
            "tables for its heads and blocks");
    if (is_dkv && plan_.options.use_fused_bwd_kernel) {
      Require(rows == q_blocks && IsUnshrunk(), "unshrunk tables for the fused backward");
    }
    CheckEntries(is_dkv ? q_blocks / shards : kv_blocks, CountOfBlocks(is_dkv));
  }

 private:
  static constexpr int64_t kMostPositions = std::numeric_limits<int32_t>::max();

  void Require(bool holds, const char* what) const {
    if (holds) return;
    throw Error(ErrorCode::kDamaged,
                fmt::format("[attention] {}: expected {}", PassName(pass_), what));
  }

  // Whether every row that is visited is its own q block, as the fused kernel takes it to be.
  bool IsUnshrunk() const {
    const auto [entries, rows, columns] = info_.block_mask->shape();
    const int64_t rows_per_shard = rows / plan_.options.q_seq_shards;
    for (int64_t i = 0; i < info_.block_mask->size(); ++i) {
      if (info_.block_mask->At(i) == 0) continue;
      if (info_.data_next->At(i) != i / columns % rows % rows_per_shard) return false;
    }
    return true;
  }

  // How many blocks class 1 may name; -1: the mask is computed instead.
  int64_t CountOfBlocks(bool is_dkv) const {
    const BlockShape block = compiled_.block;
    if (compiled_.mask_function) {
      Require(compiled_.mask_function->shape() == plan_.mask.shape() && info_.q_sequence &&
                  info_.q_sequence->size() == plan_.mask.shape().q_len,
              "a mask function and the positions of all rows");
      return -1;
    }
    if (!info_.partial_mask_blocks) return 0;
    const PartialMaskBlocks& blocks = *info_.partial_mask_blocks;
    Require(blocks.leading().size() == 1 && blocks.rows() == (is_dkv ? block.kv : block.q) &&
                blocks.columns() == (is_dkv ? block.q : block.kv) && info_.mask_next &&
                info_.mask_next->shape() == info_.block_mask->shape(),
            "partial blocks of its block shape, and mask_next");
    return blocks.count();
  }

  void CheckEntries(int64_t blocks, int64_t stored) const {
    for (int64_t i = 0; i < info_.block_mask->size(); ++i) {
      const int32_t block_class = info_.block_mask->At(i);
      if (block_class == 0) continue;
      const int32_t next = info_.data_next->At(i);
      Require(block_class == 1 || block_class == 2, "classes of 0..2 in block_mask");
      Require(next >= 0 && next < blocks, "blocks of the mask in data_next");
      if (block_class == 2 || stored < 0) continue;
      Require(stored > 0, "partial blocks where block_mask is 1");
      const int32_t id = info_.mask_next->At(i);
      Require(id >= 0 && id < stored, "stored blocks in mask_next");
    }
  }

  const Plan& plan_;
  const Pass pass_;
  const CompiledPass& compiled_;
  const MaskInfo& info_;
};

}  // namespace

void CheckTables(const Plan& plan, Pass pass) { TableCheck(plan, pass).Run(); }

}  // namespace splashmask
