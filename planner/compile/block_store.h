// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bits of distinct partial blocks, packed as the tables hold them. Private to compile.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/planner/compile/known_blocks.h"
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
  /// Lets block `id` be block `known_id` of `known`, which is the same in every call. Costs nothing
  /// until the blocks are taken.
  void StoreKnown(int64_t id, const KnownBlocks& known, int32_t known_id);
  /// Whether block `id`, one that was drawn, has these bits.
  bool Equals(int64_t id, BitRows drawn) const;

  /// The first `count` blocks as they are kept: [count, block_q, block_kv] and, transposed,
  /// [count, block_kv, block_q]. nullopt when there are none or they were not kept.
  struct Taken {
    std::optional<PartialMaskBlocks> bits, transpose;
  };
  /// Gives them away; runs on the caller's TBB arena.
  Taken Take(int64_t count);

 private:
  struct KnownBlock {
    int64_t id;
    int32_t known_id;
  };

  void StoreParts(Keep parts, int64_t id, BitRows drawn);
  bool AreTheKnown(int64_t count) const;
  void CopyKnown();
  int64_t bits_bytes() const { return block_.q * ((block_.kv + 7) / 8); }
  int64_t transpose_bytes() const { return block_.kv * ((block_.q + 7) / 8); }

  BlockShape block_;
  Keep keep_;
  int64_t capacity_ = 0;
  GrowingBuffer bits_, transpose_;
  std::optional<KnownBlocks> known_;
  std::vector<KnownBlock> known_blocks_;  // That are not copied yet, by id.
};

}  // namespace splashmask
