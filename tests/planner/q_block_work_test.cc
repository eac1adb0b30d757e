// SPDX-License-Identifier: Apache-2.0
// The work of q blocks, and the kv positions that parts of the rows see, against cells one by one.

#include "splashmask/planner/compile/q_block_work.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/seen_kv.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

MultiHeadMask RandomHeads(std::mt19937_64& random, Shape shape) {
  std::vector<Mask> heads;
  for (int64_t head = Uniform(random, 1, 4); head > 0; --head) {
    const bool is_new = heads.empty() || Uniform(random, 0, 1) == 0;
    heads.push_back(is_new ? RandomMask(random, shape, static_cast<int>(Uniform(random, 0, 3)))
                           : heads[0]);
  }
  return MultiHeadMask(heads);
}

PartWork NaiveWork(const MultiHeadMask& mask, BlockShape block) {
  const auto [q_len, kv_len] = mask.shape();
  PartWork work;
  for (int64_t row = 0; row < q_len; row += block.q) {
    int64_t &all = work.pairs.emplace_back(), &visited = work.blocks.emplace_back();
    for (const Mask& head : mask.masks()) {
      for (int64_t column = 0; column < kv_len; column += block.kv) {
        int64_t pairs = 0;
        for (int64_t q = row; q < row + block.q; ++q) {
          for (int64_t kv = column; kv < column + block.kv; ++kv) pairs += NaiveAt(head, q, kv);
        }
        all += pairs;
        visited += pairs > 0;
      }
    }
  }
  return work;
}

std::vector<PositionRanges> NaiveSeen(const MultiHeadMask& mask, int64_t parts) {
  const auto [q_len, kv_len] = mask.shape();
  std::vector<PositionRanges> seen;
  for (int64_t part = 0; part < parts; ++part) {
    PositionRanges& ranges = seen.emplace_back();
    for (int64_t kv = 0; kv < kv_len; ++kv) {
      bool is_seen = false;
      for (const Mask& head : mask.masks()) {
        for (int64_t q = q_len / parts * part; q < q_len / parts * (part + 1); ++q) {
          is_seen = is_seen || NaiveAt(head, q, kv);
        }
      }
      if (!is_seen) continue;
      if (ranges.empty() || ranges.back().second != kv) ranges.emplace_back(kv, kv);
      ++ranges.back().second;
    }
  }
  return seen;
}

TEST(QBlockWorkTest, RandomMasks) {
  std::mt19937_64 random(1);
  for (size_t i = 0; i < SampleSize(600); ++i) {
    const BlockShape block{Uniform(random, 1, 9), Uniform(random, 1, 20)};
    const Shape shape{block.q * Uniform(random, 1, 6), block.kv * Uniform(random, 1, 6)};
    const MultiHeadMask mask = RandomHeads(random, shape);
    SCOPED_TRACE(ToString(mask));
    const PartWork expected = NaiveWork(mask, block);
    const PartWork work = MeasureQBlocks(mask, block, static_cast<int>(i % 3) + 1);
    ASSERT_EQ(expected.pairs, work.pairs);
    ASSERT_EQ(expected.blocks, work.blocks);
  }
}

TEST(SeenKvTest, RandomMasks) {
  std::mt19937_64 random(2);
  for (size_t i = 0; i < SampleSize(600); ++i) {
    const int64_t parts = Uniform(random, 1, 5);
    const Shape shape{parts * Uniform(random, 1, 20), Uniform(random, 1, 150)};
    const MultiHeadMask mask = RandomHeads(random, shape);
    SCOPED_TRACE(ToString(mask));
    ASSERT_EQ(NaiveSeen(mask, parts), SeenKvRanges(mask, parts, static_cast<int>(i % 3) + 1));
  }
}

// More rows than one thread reads at once, more runs than are kept unmerged, wide drawn rows.
TEST(SeenKvTest, LongParts) {
  const Shape shape{9000, 300};
  const auto far = Mask::Stride(shape, 9) & Mask::Local(shape, 5, 0, -8000);
  for (const Mask& mask :
       {Mask::Causal(shape), far, Mask::Stride(shape, 100) | Mask::Prefix(shape, 3),
        (Mask::Stride(shape, 90) & Mask::Causal(shape, -4400)).Reorder(Positions::Striped(9))}) {
    SCOPED_TRACE(ToString(mask));
    EXPECT_EQ(NaiveSeen(MultiHeadMask(mask, 1), 2), SeenKvRanges(MultiHeadMask(mask, 1), 2, 2));
  }
  const Shape wide{4, 70'000};
  const Mask strided = Mask::Stride(wide, 7) & Mask::KvRange(wide, 16'380, 70'000);
  EXPECT_EQ(NaiveSeen(MultiHeadMask(strided, 1), 2), SeenKvRanges(MultiHeadMask(strided, 1), 2));
}

TEST(SeenKvTest, AMillionPositions) {
  constexpr int64_t kLength = 1 << 20, kShards = 8, kPiece = kLength / kShards;
  const Shape shape{kLength, kLength};
  const std::vector<PositionRanges> causal =
      SeenKvRanges(MultiHeadMask(Mask::Causal(shape), 1), kShards);
  const std::vector<PositionRanges> local =
      SeenKvRanges(MultiHeadMask(Mask::Local(shape, 1023, 0), 4), kShards);
  for (int64_t shard = 0; shard < kShards; ++shard) {
    const int64_t begin = shard * kPiece, end = begin + kPiece;
    EXPECT_EQ((PositionRanges{{0, end}}), causal[static_cast<size_t>(shard)]);
    EXPECT_EQ((PositionRanges{{std::max<int64_t>(0, begin - 1023), end}}),
              local[static_cast<size_t>(shard)]);
  }
  const PartWork work = MeasureQBlocks(MultiHeadMask(Mask::Causal(shape), 2), {4096, 4096});
  for (int64_t row = 0; row < kLength / 4096; ++row) {
    EXPECT_EQ(2 * (row + 1), work.blocks[static_cast<size_t>(row)]);
    EXPECT_EQ(2 * (4096 * row * 4096 + 4096 * 4097 / 2), work.pairs[static_cast<size_t>(row)]);
  }
}

TEST(QBlockWorkTest, BadBlocksAndStops) {
  const MultiHeadMask mask(Mask::Causal({48, 60}), 1);
  ExpectError(ErrorCode::kInvalidArgument,
              "[balance] expected block_q (7) to divide q_len (48): nearest are 6 and 8", [&] {
                MeasureQBlocks(mask, {7, 6});
              });
  ExpectError(ErrorCode::kInvalidArgument, "[balance] expected block_kv of at least 1, got 0", [&] {
    MeasureQBlocks(mask, {8, 0});
  });
  ExpectError(ErrorCode::kInvalidArgument,
              "[seen] expected parts (5) to divide q_len (48): nearest are 4 and 6",
              [&] { SeenKvRanges(mask, 5); });
  const std::atomic<bool> stop = true;
  Progress progress;
  progress.stop = &stop;
  EXPECT_THROW(MeasureQBlocks(mask, {8, 6}, 1, progress), Error);
  EXPECT_THROW(SeenKvRanges(mask, 4, 1, progress), Error);
}

}  // namespace
}  // namespace splashmask
