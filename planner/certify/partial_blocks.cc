// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/partial_blocks.h"

#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <tuple>

namespace splashmask::certify {

namespace {

// Finds a stored block by its content. Hashes only narrow the search: bits decide.
class StoredBlocks {
 public:
  explicit StoredBlocks(const PartialMaskBlocks& stored)
      : stored_(stored), keys_(static_cast<size_t>(stored.count())) {
    tbb::parallel_for(tbb::blocked_range<int64_t>(0, stored.count()), [&](const auto& range) {
      for (int64_t i = range.begin(); i < range.end(); ++i) {
        keys_[static_cast<size_t>(i)] = MakeKey(stored_.block(i), static_cast<int32_t>(i));
      }
    });
    std::sort(keys_.begin(), keys_.end());
  }

  // The lowest block that equals `bits`, or -1.
  int32_t Find(const std::vector<std::byte>& bits) const {
    const Key wanted = MakeKey(bits.data(), 0);
    for (auto key = std::lower_bound(keys_.begin(), keys_.end(), wanted);
         key != keys_.end() && key->high == wanted.high && key->low == wanted.low; ++key) {
      if (std::memcmp(stored_.block(key->block), bits.data(), bits.size()) == 0) return key->block;
    }
    return -1;
  }

 private:
  struct Key {
    uint64_t high, low;
    int32_t block;
    friend auto operator<=>(const Key&, const Key&) = default;
  };

  Key MakeKey(const std::byte* bits, int32_t block) const {
    const XXH128_hash_t hash = XXH3_128bits(bits, static_cast<size_t>(stored_.block_bytes()));
    return {hash.high64, hash.low64, block};
  }

  const PartialMaskBlocks& stored_;
  std::vector<Key> keys_;
};

}  // namespace

const std::vector<std::byte>& BlockPainter::Draw(const BlockAt& at) {
  const BlockShape block = truth_.block();
  if (mask_ != at.mask) {
    reader_.emplace(truth_.programs()[static_cast<size_t>(at.mask)]);
    mask_ = at.mask;
  }
  const int64_t row_bytes = (block.kv + 7) / 8;
  drawn_.resize(static_cast<size_t>(block.q * row_bytes));
  for (int64_t kv = 0; kv < block.kv; kv += kTileCells) {
    const int64_t count = std::min(kTileCells, block.kv - kv);
    for (int64_t q = 0; q < block.q; ++q) {
      uint64_t cells[kTileCells / 64];
      reader_->Read(at.q_block * block.q + q, at.kv_block * block.kv + kv, count, cells);
      std::memcpy(drawn_.data() + q * row_bytes + kv / 8, cells,
                  static_cast<size_t>((count + 7) / 8));
    }
  }
  if (!transposed_) return drawn_;
  turned_.resize(static_cast<size_t>(block.kv * ((block.q + 7) / 8)));
  TransposeBits(drawn_.data(), block.q, block.kv, turned_.data());
  return turned_;
}

void TransposeBits(const std::byte* bits, int64_t rows, int64_t columns, std::byte* out) {
  const int64_t in_bytes = (columns + 7) / 8, out_bytes = (rows + 7) / 8;
  // Eight by eight bits at a time: byte r of `x` is row r, and three rounds of swaps turn it
  // (Hacker's Delight, 7-3).
  for (int64_t row = 0; row < rows; row += 8) {
    for (int64_t column = 0; column < columns; column += 8) {
      uint64_t x = 0;
      for (int64_t r = 0; r < std::min<int64_t>(8, rows - row); ++r) {
        const auto byte = std::to_integer<uint64_t>(bits[(row + r) * in_bytes + column / 8]);
        x |= byte << (8 * r);
      }
      uint64_t swap = (x ^ (x >> 7)) & 0x00aa00aa00aa00aa;
      x ^= swap ^ (swap << 7);
      swap = (x ^ (x >> 14)) & 0x0000cccc0000cccc;
      x ^= swap ^ (swap << 14);
      swap = (x ^ (x >> 28)) & 0x00000000f0f0f0f0;
      x ^= swap ^ (swap << 28);
      for (int64_t c = 0; c < std::min<int64_t>(8, columns - column); ++c) {
        out[(column + c) * out_bytes + row / 8] = static_cast<std::byte>(x >> (8 * c));
      }
    }
  }
}

std::pair<int64_t, int64_t> FirstCell(const BlockTruth& truth, const BlockAt& at) {
  return {at.q_block * truth.block().q, at.kv_block * truth.block().kv};
}

std::pair<int64_t, int64_t> CellAgainst(const BlockTruth& truth, const BlockAt& at,
                                        int32_t claimed) {
  const auto [q0, kv0] = FirstCell(truth, at);
  // In an empty or a full block any cell is as good as the first.
  if (truth.ClassOf(truth.Index(at)) != BlockClass::kPartial) return {q0, kv0};
  // A partial block taken for a full one shows in a cell that is masked, and the other way round.
  const bool shows = claimed != static_cast<int32_t>(BlockClass::kFull);
  BlockPainter painter(truth, false);
  const std::vector<std::byte>& bits = painter.Draw(at);
  const BlockShape block = truth.block();
  const int64_t row_bytes = (block.kv + 7) / 8;
  for (int64_t q = 0; q < block.q; ++q) {
    for (int64_t kv = 0; kv < block.kv; ++kv) {
      const std::byte byte = bits[static_cast<size_t>(q * row_bytes + kv / 8)];
      if ((std::to_integer<unsigned>(byte) >> (kv % 8) & 1) == shows) return {q0 + q, kv0 + kv};
    }
  }
  return {q0, kv0};
}

std::vector<int32_t> MatchPartialBlocks(const BlockTruth& truth, const PartialMaskBlocks& stored,
                                        bool transposed, RowProgress& progress) {
  const StoredBlocks lookup(stored);
  std::vector<int32_t> matches(static_cast<size_t>(truth.size()), -1);
  const tbb::blocked_range<int64_t> block_rows(0, truth.masks() * truth.q_blocks());
  tbb::parallel_for(block_rows, [&](const auto& range) {
    BlockPainter painter(truth, transposed);
    for (int64_t row = range.begin(); row < range.end(); ++row) {
      for (int64_t j = 0; j < truth.kv_blocks(); ++j) {
        const int64_t index = row * truth.kv_blocks() + j;
        if (truth.ClassOf(index) != BlockClass::kPartial) continue;
        matches[static_cast<size_t>(index)] = lookup.Find(painter.Draw(truth.At(index)));
      }
      progress.FinishRow();
    }
  });
  return matches;
}

}  // namespace splashmask::certify
