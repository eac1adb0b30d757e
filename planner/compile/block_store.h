// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bits of distinct partial blocks, packed as the tables hold them. Private to compile.

#include <cstdint>
#include <optional>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

class BlockStore {
 public:
  /// What is kept of each block: its bits (fwd, dq), their transpose (dkv), both, or nothing (the
  /// kernel computes the mask).
  struct Keep {
    bool bits = false;
    bool transpose = false;
    bool any() const { return bits || transpose; }
  };

  BlockStore(BlockShape block, Keep keep);

  Keep keep() const { return keep_; }

  /// Makes room for `count` blocks. Throws kTooLarge when the memory does not suffice.
  void Reserve(int64_t count);
  /// Stores block `id`; different ids may be stored from different threads.
  void Store(int64_t id, BitRows drawn);
  /// Whether the stored block `id` has these bits.
  bool Equals(int64_t id, BitRows drawn) const;

  /// Gives the first `count` blocks away: [count, block_q, block_kv] or, transposed,
  /// [count, block_kv, block_q]. nullopt when there are none or they were not kept.
  std::optional<PartialMaskBlocks> TakeBits(int64_t count);
  std::optional<PartialMaskBlocks> TakeTranspose(int64_t count);

 private:
  int64_t bits_bytes() const { return block_.q * ((block_.kv + 7) / 8); }
  int64_t transpose_bytes() const { return block_.kv * ((block_.q + 7) / 8); }

  BlockShape block_;
  Keep keep_;
  int64_t capacity_ = 0;
  GrowingBuffer bits_, transpose_;
};

}  // namespace splashmask
