// SPDX-License-Identifier: Apache-2.0
#pragma once
// The distinct partial blocks of an earlier plan, for one block shape. Private to compile.

#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/planner/compile/block_index.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask {

/// As fwd and dq store them, or transposed as dkv does, or both with the same numbers. Shares the
/// plan's memory.
class KnownBlocks {
 public:
  KnownBlocks() = default;
  KnownBlocks(std::optional<PartialMaskBlocks> bits, std::optional<PartialMaskBlocks> transpose)
      : bits_(std::move(bits)), transpose_(std::move(transpose)) {}

  int64_t count() const;
  /// What is stored: [count, block_q, block_kv] and [count, block_kv, block_q].
  const std::optional<PartialMaskBlocks>& bits() const { return bits_; }
  const std::optional<PartialMaskBlocks>& transpose() const { return transpose_; }

  /// The cells of block `id`, one q row a row. Bits past block_kv in the last word are 0.
  OwnedBits Read(int64_t id) const;
  /// Whether block `id` has these cells.
  bool Equals(int64_t id, BitRows drawn) const;

  /// Reads the blocks with these numbers. Runs on the caller's TBB arena.
  BlockIndex Index(std::span<const int32_t> ids) const;

 private:
  int64_t block_q() const { return bits_ ? bits_->rows() : transpose_->columns(); }
  int64_t block_kv() const { return bits_ ? bits_->columns() : transpose_->rows(); }

  std::optional<PartialMaskBlocks> bits_, transpose_;
};

}  // namespace splashmask
