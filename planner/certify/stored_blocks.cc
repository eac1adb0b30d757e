// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/stored_blocks.h"

#include <fmt/format.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>
#include <vector>

#include "splashmask/planner/certify/describe.h"
#include "splashmask/planner/certify/partial_blocks.h"

namespace splashmask::certify {

namespace {

constexpr char kTable[] = "partial_mask_blocks";

}  // namespace

std::string StoredBlocksCheck::DescribeBlocks(const std::string& count) const {
  const BlockShape block = grid_.truth.block();
  return fmt::format("bool[{}, {}, {}]", count, is_dkv_ ? block.kv : block.q,
                     is_dkv_ ? block.q : block.kv);
}

std::optional<Mismatch> StoredBlocksCheck::Run(const std::optional<PartialMaskBlocks>& stored,
                                               bool computed) {
  std::string got_type = kNone;
  if (stored) {
    std::vector<int64_t> shape = stored->leading();
    shape.insert(shape.end(), {stored->rows(), stored->columns()});
    got_type = DescribeArray(DType::kBool, shape);
  }
  int64_t partial = 0;
  std::optional<BlockAt> first;
  for (int64_t index = 0; index < grid_.truth.size(); ++index) {
    if (grid_.truth.ClassOf(index) != BlockClass::kPartial) continue;
    if (!first) first = grid_.truth.At(index);
    ++partial;
  }
  if (computed || partial == 0) {
    return stored ? Result(Wrong(kTable, kNone, got_type)) : std::nullopt;
  }
  if (!stored || stored->leading().size() != 1 ||
      got_type != DescribeBlocks(fmt::to_string(stored->count()))) {
    return Wrong(kTable, DescribeBlocks("*"), got_type);
  }
  if (stored->count() > partial) {
    return Wrong(kTable, DescribeBlocks(fmt::format("{} or fewer", partial)), got_type);
  }
  return grid_.reference == nullptr ? ProveReference(*stored) : CompareWithReference(*stored);
}

// Equal blocks of the mask equal the same stored block, and it is the lowest, so following the
// order of the mask through the matches proves content, order, distinctness and use all at once.
StoredBlocksCheck::Result StoredBlocksCheck::ProveReference(const PartialMaskBlocks& stored) {
  std::vector<int32_t> matches = MatchPartialBlocks(grid_.truth, stored, is_dkv_, progress_);
  int32_t used = 0;
  for (int64_t index = 0; index < grid_.truth.size(); ++index) {
    if (grid_.truth.ClassOf(index) != BlockClass::kPartial) continue;
    const int32_t match = matches[static_cast<size_t>(index)];
    if (match == used) ++used;
    if (match >= 0 && match < used) continue;
    // A block that none of the earlier ones equals, and that stored block `used` should hold.
    return WrongBit(stored, used, grid_.truth.At(index));
  }
  if (used != stored.count()) {
    return Wrong(kTable, DescribeBlocks(fmt::to_string(used)),
                 DescribeBlocks(fmt::to_string(stored.count())));
  }
  grid_.ids = std::move(matches);
  grid_.reference = &stored;
  grid_.reference_is_dkv = is_dkv_;
  return std::nullopt;
}

StoredBlocksCheck::Result StoredBlocksCheck::CompareWithReference(
    const PartialMaskBlocks& stored) const {
  const PartialMaskBlocks& reference = *grid_.reference;
  if (stored.count() != reference.count()) {
    return Wrong(kTable, DescribeBlocks(fmt::to_string(reference.count())),
                 DescribeBlocks(fmt::to_string(stored.count())));
  }
  const bool transpose = is_dkv_ != grid_.reference_is_dkv;
  std::vector<uint8_t> equal(static_cast<size_t>(stored.count()));
  tbb::parallel_for(tbb::blocked_range<int64_t>(0, stored.count()), [&](const auto& range) {
    std::vector<std::byte> turned(static_cast<size_t>(stored.block_bytes()));
    for (int64_t id = range.begin(); id < range.end(); ++id) {
      const std::byte* expected = reference.block(id);
      if (transpose) {
        TransposeBits(expected, reference.rows(), reference.columns(), turned.data());
        expected = turned.data();
      }
      equal[static_cast<size_t>(id)] =
          std::memcmp(stored.block(id), expected, static_cast<size_t>(stored.block_bytes())) == 0;
    }
  });
  const auto differs = std::find(equal.begin(), equal.end(), 0);
  if (differs == equal.end()) return std::nullopt;
  const auto id = static_cast<int32_t>(differs - equal.begin());
  const auto shown = std::find(grid_.ids.begin(), grid_.ids.end(), id);
  return WrongBit(stored, id, grid_.truth.At(shown - grid_.ids.begin()));
}

Mismatch StoredBlocksCheck::WrongBit(const PartialMaskBlocks& stored, int64_t id,
                                     const BlockAt& at) const {
  const BlockShape block = grid_.truth.block();
  if (id == stored.count()) {
    Mismatch mismatch = Wrong(kTable, DescribeBlocks(fmt::format("{} or more", id + 1)),
                              DescribeBlocks(fmt::to_string(id)));
    mismatch.head = heads_.first_head[static_cast<size_t>(at.mask)];
    mismatch.q = at.q_block * block.q;
    mismatch.kv = at.kv_block * block.kv;
    return mismatch;
  }
  BlockPainter painter(grid_.truth, is_dkv_);
  const std::vector<std::byte>& expected = painter.Draw(at);
  const std::byte* got = stored.block(id);
  const int64_t byte = std::mismatch(expected.begin(), expected.end(), got).second - got;
  const auto difference =
      std::to_integer<unsigned>(got[byte] ^ expected[static_cast<size_t>(byte)]);
  const int64_t bit = std::countr_zero(difference);
  const int64_t row = byte / stored.row_bytes(), column = byte % stored.row_bytes() * 8 + bit;
  const bool got_bit = (std::to_integer<unsigned>(got[byte]) >> bit & 1) != 0;
  if (column >= stored.columns()) {
    Mismatch mismatch = Wrong(kTable, "pad bit 0", "1");
    mismatch.index = {id, row, column};
    return mismatch;
  }
  Mismatch mismatch = Wrong(kTable, got_bit ? "False" : "True", got_bit ? "True" : "False");
  mismatch.index = {id, row, column};
  mismatch.head = heads_.first_head[static_cast<size_t>(at.mask)];
  mismatch.q = at.q_block * block.q + (is_dkv_ ? column : row);
  mismatch.kv = at.kv_block * block.kv + (is_dkv_ ? row : column);
  return mismatch;
}

}  // namespace splashmask::certify
