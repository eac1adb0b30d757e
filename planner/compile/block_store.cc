// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/block_store.h"

#include <fmt/format.h>

#include <algorithm>

#include "splashmask/masks/error.h"
#include "splashmask/planner/threads.h"

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

void BlockStore::Store(int64_t id, BitRows drawn) { StoreParts(keep_, id, drawn); }

void BlockStore::StoreParts(Keep parts, int64_t id, BitRows drawn) {
  if (parts.bits) StorePacked(drawn, block_.q, block_.kv, bits_.data() + id * bits_bytes());
  if (parts.transpose) {
    const int64_t words = WordsFor(block_.q);
    std::byte* const stored = transpose_.data() + id * transpose_bytes();
    if (block_.q % 64 == 0) {  // Rows of whole words are packed as they are.
      return TransposeBits(drawn, block_.q, block_.kv,
                           {reinterpret_cast<uint64_t*>(stored), words});
    }
    StorePacked(Transposed(drawn, block_.q, block_.kv).rows(), block_.kv, block_.q, stored);
  }
}

void BlockStore::StoreKnown(int64_t id, const KnownBlocks& known, int32_t known_id) {
  if (!known_) known_ = known;
  known_blocks_.push_back({id, known_id});
}

bool BlockStore::Equals(int64_t id, BitRows drawn) const {
  if (keep_.bits) return SamePacked(bits_.data() + id * bits_bytes(), block_.q, block_.kv, drawn);
  return SamePacked(transpose_.data() + id * transpose_bytes(), block_.kv, block_.q,
                    Transposed(drawn, block_.q, block_.kv).rows());
}

BlockStore::Taken BlockStore::Take(int64_t count) {
  Taken taken;
  if (count == 0) return taken;
  if (AreTheKnown(count)) {
    if (keep_.bits) taken.bits = known_->bits();
    if (keep_.transpose) taken.transpose = known_->transpose();
  }
  keep_ = {keep_.bits && !taken.bits, keep_.transpose && !taken.transpose};
  if (keep_.any()) CopyKnown();
  if (keep_.bits) {
    taken.bits.emplace(std::vector<int64_t>{count}, block_.q, block_.kv,
                       bits_.Release(count * bits_bytes()));
  }
  if (keep_.transpose) {
    taken.transpose.emplace(std::vector<int64_t>{count}, block_.kv, block_.q,
                            transpose_.Release(count * transpose_bytes()));
  }
  return taken;
}

// Whether the first `count` blocks are all that are known, with the numbers that they had.
bool BlockStore::AreTheKnown(int64_t count) const {
  return known_ && known_->count() == count && std::ssize(known_blocks_) == count &&
         std::all_of(known_blocks_.begin(), known_blocks_.end(),
                     [](const KnownBlock& block) { return block.id == block.known_id; });
}

void BlockStore::CopyKnown() {
  if (known_blocks_.empty()) return;
  Reserve(known_blocks_.back().id + 1);
  const Keep copied{keep_.bits && known_->bits(), keep_.transpose && known_->transpose()};
  const Keep made{keep_.bits && !known_->bits(), keep_.transpose && !known_->transpose()};
  ParallelFor(std::ssize(known_blocks_), [&](int64_t i) {
    const auto [id, known_id] = known_blocks_[static_cast<size_t>(i)];
    if (copied.bits) {
      std::copy_n(known_->bits()->block(known_id), bits_bytes(), bits_.data() + id * bits_bytes());
    }
    if (copied.transpose) {
      std::copy_n(known_->transpose()->block(known_id), transpose_bytes(),
                  transpose_.data() + id * transpose_bytes());
    }
    if (made.any()) StoreParts(made, id, known_->Read(known_id).rows());
  });
}

}  // namespace splashmask
