// SPDX-License-Identifier: Apache-2.0
// Masks known only at run time: no block can be shared, no next index can skip ahead.

#include <algorithm>
#include <memory>

#include "splashmask/masks/analysis/bits.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// JAX picks these dtypes by a count of blocks, not by the largest entry, which it cannot know.
DType TypeForCount(int64_t count, bool downcast) {
  if (!downcast || count > INT16_MAX) return DType::kInt32;
  return count > INT8_MAX ? DType::kInt16 : DType::kInt8;
}

// Draws one block, stores it packed, and returns its class.
BlockClass StoreBlock(const std::byte* first, int64_t kv_len, BlockShape block, bool is_dkv,
                      std::byte* out) {
  const int64_t words = WordsFor(block.kv);
  const auto drawn = std::make_unique_for_overwrite<uint64_t[]>(block.q * words);
  const BitRows bits{drawn.get(), words};
  for (int64_t r = 0; r < block.q; ++r) PackBools(first + r * kv_len, block.kv, bits.row(r));
  if (is_dkv) {
    const int64_t turned_words = WordsFor(block.q);
    const auto scratch = std::make_unique_for_overwrite<uint64_t[]>(block.kv * turned_words);
    const BitRows turned{scratch.get(), turned_words};
    TransposeBits(bits, block.q, block.kv, turned);
    StorePacked(turned, block.kv, block.q, out);
  } else {
    StorePacked(bits, block.q, block.kv, out);
  }
  const AnyAll found = TestBits(bits, block.q, block.kv);
  return !found.any ? BlockClass::kEmpty : found.all ? BlockClass::kFull : BlockClass::kPartial;
}

}  // namespace

MaskInfo CompileDynamic(const DynamicMask& mask, BlockShape block, bool is_dkv,
                        const PlanOptions& options, int threads) {
  if (mask.num_heads < 1 || mask.shape.q_len < 1 || mask.shape.kv_len < 1) {
    throw Error(ErrorCode::kInvalidArgument,
                "[compile] expected a mask of at least one head, q and kv position");
  }
  CheckPass(mask.shape, mask.num_heads, block, options, is_dkv ? "_dkv" : "");
  const int64_t heads = mask.num_heads;
  const int64_t rows = mask.shape.q_len / block.q;
  const int64_t columns = mask.shape.kv_len / block.kv;
  const int64_t rows_per_shard = rows / options.q_seq_shards;
  const int64_t heads_per_shard = heads / options.head_shards;
  const bool downcast = options.downcast_smem_data;

  MaskInfo info;
  info.is_dynamic_mask = true;
  const std::array<int64_t, 3> shape = {heads, rows, columns};
  info.data_next = Table(TypeForCount(is_dkv ? rows_per_shard : columns, downcast), shape);
  info.mask_next = Table(TypeForCount(heads_per_shard * rows_per_shard * columns, downcast), shape);
  info.block_mask = Table(downcast ? DType::kInt8 : DType::kInt32, shape);
  info.partial_mask_blocks = PartialMaskBlocks({heads, rows, columns}, is_dkv ? block.kv : block.q,
                                               is_dkv ? block.q : block.kv);

  RunWithThreads(threads, [&] {
    ParallelFor(heads * rows, [&](int64_t i) {
      const int64_t head = i / rows, row = i % rows;
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t entry = i * columns + column;
        const std::byte* first = mask.data +
                                 (head * mask.shape.q_len + row * block.q) * mask.shape.kv_len +
                                 column * block.kv;
        const BlockClass block_class = StoreBlock(
            first, mask.shape.kv_len, block, is_dkv,
            info.partial_mask_blocks->data() + entry * info.partial_mask_blocks->block_bytes());
        const int64_t shard_row = row % rows_per_shard;
        const int64_t shard_entry =
            (head % heads_per_shard * rows_per_shard + shard_row) * columns + column;
        const bool visible = block_class != BlockClass::kEmpty;
        const bool partial = block_class == BlockClass::kPartial;
        info.data_next->Set(entry, visible ? static_cast<int32_t>(is_dkv ? shard_row : column) : 0);
        info.mask_next->Set(entry, partial ? static_cast<int32_t>(shard_entry) : 0);
        info.block_mask->Set(entry, static_cast<int32_t>(block_class));
      }
    });
  });
  return info;
}

}  // namespace splashmask
