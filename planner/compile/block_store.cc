// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/block_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "splashmask/masks/error.h"

namespace splashmask {

BlockStore::BlockStore(BlockShape block, Keep keep) : block_(block), keep_(keep) {}

void BlockStore::Reserve(int64_t count) {
  if (count <= capacity_) return;
  const int64_t each = std::max<int64_t>(
      1, (keep_.bits ? bits_bytes() : 0) + (keep_.transpose ? transpose_bytes() : 0));
  // Whatever grows once is given huge pages.
  const int64_t least = capacity_ == 0 ? 0 : (int64_t{4} << 20) / each;
  const int64_t most_more = (int64_t{64} << 20) / each;
  const int64_t capacity = std::max({count, least, std::min(2 * capacity_, capacity_ + most_more)});
  if (!FitsInMemory(static_cast<ByteCount>(count - capacity_) * static_cast<ByteCount>(each))) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[compile] expected the distinct partial blocks to fit in memory, but "
                            "{} of them already take {} bytes and {} are left: use smaller blocks "
                            "or a mask that the kernel can compute",
                            count, count * each, AvailableMemory()));
  }
  if (keep_.bits) bits_.Reserve(capacity * bits_bytes());
  if (keep_.transpose) transpose_.Reserve(capacity * transpose_bytes());
  capacity_ = capacity;
}

void BlockStore::Store(int64_t id, BitRows drawn) {
  if (keep_.bits) StorePacked(drawn, block_.q, block_.kv, bits_.data() + id * bits_bytes());
  if (keep_.transpose) {
    const int64_t words = WordsFor(block_.q);
    std::byte* const stored = transpose_.data() + id * transpose_bytes();
    if (block_.q % 64 == 0) {  // Rows of whole words are packed as they are.
      return TransposeBits(drawn, block_.q, block_.kv,
                           {reinterpret_cast<uint64_t*>(stored), words});
    }
    const auto scratch = std::make_unique_for_overwrite<uint64_t[]>(block_.kv * words);
    const BitRows turned{scratch.get(), words};
    TransposeBits(drawn, block_.q, block_.kv, turned);
    StorePacked(turned, block_.kv, block_.q, stored);
  }
}

bool BlockStore::Equals(int64_t id, BitRows drawn) const {
  const bool direct = keep_.bits;
  const int64_t bytes = direct ? bits_bytes() : transpose_bytes();
  const std::byte* stored = (direct ? bits_ : transpose_).data() + id * bytes;
  const int64_t rows = direct ? block_.q : block_.kv;
  const int64_t columns = direct ? block_.kv : block_.q;
  std::unique_ptr<uint64_t[]> scratch;
  if (!direct) {
    scratch = std::make_unique_for_overwrite<uint64_t[]>(rows * WordsFor(columns));
    const BitRows turned{scratch.get(), WordsFor(columns)};
    TransposeBits(drawn, block_.q, block_.kv, turned);
    drawn = turned;
  }
  const int64_t row_bytes = (columns + 7) / 8;
  for (int64_t r = 0; r < rows; ++r) {
    if (std::memcmp(stored + r * row_bytes, drawn.row(r), static_cast<size_t>(row_bytes)) != 0) {
      return false;
    }
  }
  return true;
}

std::optional<PartialMaskBlocks> BlockStore::TakeBits(int64_t count) {
  if (!keep_.bits || count == 0) return std::nullopt;
  return PartialMaskBlocks({count}, block_.q, block_.kv, bits_.Release(count * bits_bytes()));
}

std::optional<PartialMaskBlocks> BlockStore::TakeTranspose(int64_t count) {
  if (!keep_.transpose || count == 0) return std::nullopt;
  return PartialMaskBlocks({count}, block_.kv, block_.q,
                           transpose_.Release(count * transpose_bytes()));
}

}  // namespace splashmask
