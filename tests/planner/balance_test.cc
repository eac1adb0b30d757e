// SPDX-License-Identifier: Apache-2.0
// Shards of equal length: dealing against every way to deal, work against cells.

#include "splashmask/planner/cost/balance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/q_block_work.h"
#include "splashmask/planner/cost/deal_blocks.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

using Blocks = std::vector<std::vector<int64_t>>;

std::vector<int64_t> LoadsOf(const Blocks& dealt, const std::vector<int64_t>& work) {
  std::vector<int64_t> loads;
  for (const std::vector<int64_t>& blocks : dealt) {
    int64_t& load = loads.emplace_back();
    for (const int64_t block : blocks) load += work[static_cast<size_t>(block)];
  }
  return loads;
}

// The least that the most loaded shard can have, by trying every way to deal.
int64_t LeastPossible(const std::vector<int64_t>& work, int64_t shards) {
  const size_t room = work.size() / static_cast<size_t>(shards);
  std::vector<int64_t> loads(static_cast<size_t>(shards));
  std::vector<size_t> counts(loads.size());
  int64_t least = std::accumulate(work.begin(), work.end(), int64_t{0});
  const std::function<void(size_t)> deal = [&](size_t block) {
    if (block == work.size()) {
      least = std::min(least, std::ranges::max(loads));
      return;
    }
    for (size_t shard = 0; shard < loads.size(); ++shard) {
      if (counts[shard] == room) continue;
      ++counts[shard];
      loads[shard] += work[block];
      deal(block + 1);
      loads[shard] -= work[block];
      if (--counts[shard] == 0) break;  // Empty shards are all alike.
    }
  };
  deal(0);
  return least;
}

// As many blocks in each, each block once, ascending.
void ExpectDealt(const Blocks& dealt, int64_t blocks, int64_t shards) {
  ASSERT_EQ(shards, std::ssize(dealt));
  std::vector<int64_t> all;
  for (const std::vector<int64_t>& of_shard : dealt) {
    EXPECT_EQ(blocks / shards, std::ssize(of_shard));
    EXPECT_TRUE(std::ranges::is_sorted(of_shard));
    all.insert(all.end(), of_shard.begin(), of_shard.end());
  }
  EXPECT_TRUE(std::ranges::is_sorted(dealt));
  std::ranges::sort(all);
  std::vector<int64_t> expected(static_cast<size_t>(blocks));
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(expected, all);
}

// Whether an exchange of one block of `shard` for one of another makes the more loaded of them less
// loaded.
bool HasBetterExchange(const Blocks& dealt, const std::vector<int64_t>& work, size_t shard) {
  const std::vector<int64_t> loads = LoadsOf(dealt, work);
  for (size_t other = 0; other < dealt.size(); ++other) {
    for (const int64_t give : dealt[shard]) {
      for (const int64_t take : dealt[other]) {
        const int64_t moved = work[static_cast<size_t>(give)] - work[static_cast<size_t>(take)];
        if (std::max(loads[shard] - moved, loads[other] + moved) < loads[shard]) return true;
      }
    }
  }
  return false;
}

// One of the most loaded shards is as little loaded as one exchange can make it.
bool IsSettled(const Blocks& dealt, const std::vector<int64_t>& work) {
  const std::vector<int64_t> loads = LoadsOf(dealt, work);
  for (size_t shard = 0; shard < loads.size(); ++shard) {
    const bool is_most = loads[shard] == std::ranges::max(loads);
    if (is_most && !HasBetterExchange(dealt, work, shard)) return true;
  }
  return false;
}

TEST(DealBlocksTest, BesideEveryWayToDeal) {
  std::mt19937_64 random(1);
  int best = 0, cases = 0;
  double worst = 1;
  for (const auto& [blocks, shards] :
       {std::pair<int64_t, int64_t>{6, 2}, {8, 2}, {12, 2}, {6, 3}, {9, 3}, {8, 4}, {10, 5}}) {
    for (size_t i = 0; i < SampleSize(160); ++i) {
      std::vector<int64_t> work;
      const int64_t most = i % 3 == 0 ? 5 : i % 3 == 1 ? 100 : 1'000'000;
      for (int64_t b = 0; b < blocks; ++b) work.push_back(Uniform(random, 0, most));
      if (i % 2 == 0) {  // As lengths of documents are: few large ones.
        for (int64_t& of_block : work) of_block = of_block * of_block / most;
      }
      const Blocks dealt = DealBlocks(work, shards);
      ASSERT_NO_FATAL_FAILURE(ExpectDealt(dealt, blocks, shards));
      ASSERT_TRUE(IsSettled(dealt, work)) << "seed 1, case " << cases;
      const int64_t least = LeastPossible(work, shards);
      const int64_t got = std::ranges::max(LoadsOf(dealt, work));
      ASSERT_LE(least, got);
      ++cases;
      best += got == least;
      if (least > 0) worst = std::max(worst, static_cast<double>(got) / static_cast<double>(least));
    }
  }
  RecordProperty("best", std::to_string(best) + " of " + std::to_string(cases));
  RecordProperty("worst", std::to_string(worst));
  EXPECT_GE(best, cases * 8 / 10);
  EXPECT_LE(worst, 1.2);
}

TEST(DealBlocksTest, OnlyWorkDecides) {
  EXPECT_EQ((Blocks{{0, 3}, {1, 2}}), DealBlocks(std::vector<int64_t>{1, 2, 3, 4}, 2));
  EXPECT_EQ((Blocks{{0, 2}, {1, 3}}), DealBlocks(std::vector<int64_t>{7, 7, 7, 7}, 2));
  EXPECT_EQ((Blocks{{0, 1, 2}}), DealBlocks(std::vector<int64_t>{0, 0, 0}, 1));
  // The heaviest first would give 9 + 5 + 4 and 8 + 7 + 6.
  const std::vector<int64_t> work{9, 8, 7, 6, 5, 5};
  EXPECT_EQ(20, std::ranges::max(LoadsOf(DealBlocks(work, 2), work)));
}

// ---- Balances of masks.

ShardBalancer::Measure InBlocksOf(BlockShape block, int threads = 1) {
  return [=](const MultiHeadMask& mask) { return MeasureQBlocks(mask, block, threads); };
}

std::vector<int64_t> Permutation(BalanceMethod method, const Mask& mask, int64_t shards,
                                 int64_t block_q) {
  const ShardBalancer balancer({{MultiHeadMask(mask, 1)}}, {shards, block_q},
                               InBlocksOf({block_q, 2}));
  return balancer.Balance(method).permutation.ToInt64();
}

using Positions64 = std::vector<int64_t>;

TEST(BalanceTest, PermutationsOfEachMethod) {
  const Mask causal = Mask::Causal({12, 12});
  const auto of = [&](BalanceMethod method) { return Permutation(method, causal, 3, 2); };
  EXPECT_EQ((Positions64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}), of(BalanceMethod::kContiguous));
  EXPECT_EQ((Positions64{0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7}), of(BalanceMethod::kZigzag));
  EXPECT_EQ((Positions64{0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11}), of(BalanceMethod::kStriped));
  // Blocks 0 to 5 visit 1 to 6.
  EXPECT_EQ((Positions64{0, 1, 10, 11, 2, 3, 8, 9, 4, 5, 6, 7}), of(BalanceMethod::kLpt));
}

TEST(BalanceTest, InverseRangesAndReorderedMasks) {
  const Mask mask = Mask::Documents({16, 16}, {3, 9, 4});
  const MultiHeadMask heads({mask, Mask::Full({16, 16}), mask});
  const ShardBalancer balancer({{heads}}, {2, 2, WorkUnit::kPairs}, InBlocksOf({2, 2}));
  for (const BalanceMethod method : kAllBalanceMethods) {
    const ShardBalance balance = balancer.Balance(method);
    EXPECT_EQ(method, balance.method);
    EXPECT_EQ(2, balance.shards());
    EXPECT_EQ(DType::kInt32, balance.permutation.dtype());
    EXPECT_EQ(DType::kInt32, balance.inverse.dtype());
    Positions64 positions;
    for (int64_t shard = 0; shard < 2; ++shard) {
      for (const auto& [begin, end] : balance.RangesOf(shard)) {
        ASSERT_LT(begin, end);
        for (int64_t position = begin; position < end; ++position) positions.push_back(position);
      }
    }
    EXPECT_EQ(balance.permutation.ToInt64(), positions);
    const MultiHeadMask reordered = balance.Reorder(heads);
    EXPECT_EQ(&reordered.masks()[0].node(), &reordered.masks()[2].node());
    for (int64_t row = 0; row < 16; ++row) {
      EXPECT_EQ(row, balance.inverse.At(balance.permutation.At(row)));
      for (int64_t kv = 0; kv < 16; ++kv) {
        ASSERT_EQ(NaiveAt(mask, balance.permutation.At(row), kv),
                  NaiveAt(reordered.masks()[0], row, kv));
      }
    }
  }
  EXPECT_EQ("reorder(full(), q=zigzag(2))",
            ToString(balancer.Balance(BalanceMethod::kZigzag).Reorder(heads).masks()[1]));
}

// What a shard computes, cell by cell.
PartWork WorkOfCells(const MultiHeadMask& mask, BlockShape block, int64_t shards,
                     const Array& permutation) {
  const auto [q_len, kv_len] = mask.shape();
  const auto parts = static_cast<size_t>(shards);
  PartWork work{Positions64(parts), Positions64(parts)};
  for (const Mask& head : mask.masks()) {
    const std::vector<uint8_t> cells = NaiveCells(head);
    for (int64_t row = 0; row < q_len; row += block.q) {
      for (int64_t column = 0; column < kv_len; column += block.kv) {
        int64_t pairs = 0;
        for (int64_t r = row; r < row + block.q; ++r) {
          for (int64_t kv = column; kv < column + block.kv; ++kv) {
            pairs += cells[static_cast<size_t>(permutation.At(r) * kv_len + kv)];
          }
        }
        work.pairs[static_cast<size_t>(row * shards / q_len)] += pairs;
        work.blocks[static_cast<size_t>(row * shards / q_len)] += pairs > 0;
      }
    }
  }
  return work;
}

TEST(BalanceTest, WorkOfShardsIsThatOfTheirCells) {
  std::mt19937_64 random(2);
  int broken = 0;
  for (size_t i = 0; i < SampleSize(200); ++i) {
    const BlockShape block{Uniform(random, 1, 6), Uniform(random, 1, 9)};
    const int64_t shards = Uniform(random, 1, 4);
    const Shape shape{shards * block.q * Uniform(random, 1, 4), block.kv * Uniform(random, 1, 6)};
    std::vector<WeightedMask> masks;
    for (int64_t m = Uniform(random, 1, 3); m > 0; --m) {
      std::vector<Mask> heads(1, RandomMask(random, shape, 2));
      heads.push_back(i % 2 == 0 ? heads[0] : RandomMask(random, shape, 2));
      heads.push_back(heads[0]);
      masks.push_back({MultiHeadMask(heads), Uniform(random, 1, 5)});
    }
    const WorkUnit unit = i % 2 == 0 ? WorkUnit::kPairs : WorkUnit::kBlocks;
    const ShardBalancer balancer(masks, {shards, block.q, unit}, InBlocksOf(block));
    std::vector<double> imbalances;
    for (const BalanceMethod method : kAllBalanceMethods) {
      if (method == BalanceMethod::kZigzag && shape.q_len % (2 * shards) != 0) continue;
      SCOPED_TRACE(ToString(masks[0].mask) + " " + std::string(BalanceMethodName(method)));
      const ShardBalance balance = balancer.Balance(method);
      broken += !balance.keeps_blocks;
      PartWork total{Positions64(static_cast<size_t>(shards)),
                     Positions64(static_cast<size_t>(shards))};
      for (size_t m = 0; m < masks.size(); ++m) {
        const PartWork expected = WorkOfCells(masks[m].mask, block, shards, balance.permutation);
        ASSERT_EQ(expected.pairs, balance.of_masks[m].pairs);
        ASSERT_EQ(expected.blocks, balance.of_masks[m].blocks);
        for (size_t shard = 0; shard < total.pairs.size(); ++shard) {
          total.pairs[shard] += masks[m].weight * expected.pairs[shard];
          total.blocks[shard] += masks[m].weight * expected.blocks[shard];
        }
      }
      ASSERT_EQ(total, balance.total);
      imbalances.push_back(Imbalance(balance.work(unit)));
    }
    // Dealing whole blocks is no worse than leaving them where they are.
    EXPECT_LE(imbalances.back(), imbalances.front());
  }
  EXPECT_GT(broken, static_cast<int>(SampleSize(200) / 4));
}

TEST(BalanceTest, WeightsDecide) {
  // One mask has its work in the first half of the rows, the other one in the last row.
  const Shape shape{8, 8};
  const MultiHeadMask early(Mask::QRange(shape, 0, 4), 1), late(Mask::QRange(shape, 7, 8), 1);
  const auto loads = [&](int64_t weight) {
    const ShardBalancer balancer({{early}, {late, weight}}, {2, 1, WorkUnit::kPairs},
                                 InBlocksOf({1, 8}));
    return balancer.Balance(BalanceMethod::kLpt).total.pairs;
  };
  EXPECT_EQ((Positions64{24, 16}), loads(1));
  EXPECT_EQ((Positions64{32, 32}), loads(4));
}

TEST(BalanceTest, ImbalanceIsMostToMean) {
  EXPECT_EQ(1.5, Imbalance({3, 1, 2, 2}));
  EXPECT_EQ(1, Imbalance({5}));
  EXPECT_EQ(1, Imbalance({0, 0}));
}

TEST(BalanceTest, NamesAreThoseOfTheCommandLine) {
  for (const BalanceMethod method : kAllBalanceMethods) {
    EXPECT_EQ(method, BalanceMethodFromName(BalanceMethodName(method)));
  }
  EXPECT_EQ("lpt", BalanceMethodName(BalanceMethod::kLpt));
  EXPECT_EQ(WorkUnit::kPairs, WorkUnitFromName("pairs"));
  EXPECT_EQ("blocks", WorkUnitName(WorkUnitFromName("blocks")));
  ExpectError(ErrorCode::kInvalidArgument,
              "[balance] expected method contiguous, zigzag, striped or lpt, got 'best'",
              [] { BalanceMethodFromName("best"); });
  ExpectError(ErrorCode::kInvalidArgument, "[balance] expected unit blocks or pairs, got 'cells'",
              [] { WorkUnitFromName("cells"); });
}

TEST(BalanceTest, WhatCannotBeBalanced) {
  const Shape shape{48, 48};
  const MultiHeadMask causal(Mask::Causal(shape), 1);
  const auto expect = [&](ErrorCode code, const std::string& message,
                          std::vector<WeightedMask> masks, BalanceOptions options,
                          BalanceMethod method = BalanceMethod::kLpt) {
    ExpectError(code, "[balance] expected " + message, [&] {
      ShardBalancer(std::move(masks), options, InBlocksOf({options.block_q, 8})).Balance(method);
    });
  };
  const ErrorCode invalid = ErrorCode::kInvalidArgument;
  expect(invalid, "at least one mask, got none", {}, {2, 8});
  expect(invalid, "masks of one shape (48 x 48), got one of 48 x 40",
         {{causal}, {MultiHeadMask(Mask::Full({48, 40}), 1)}}, {2, 8});
  expect(invalid, "weights of at least 1, got 0", {{causal, 0}}, {2, 8});
  expect(invalid, "shards of at least 1, got 0", {{causal}}, {0, 8});
  expect(invalid, "block_q of at least 1, got 0", {{causal}}, {2, 0});
  expect(
      invalid,
      "as many q blocks in each shard, got q_len 48, shards 4 and block_q 8: shards times block_q "
      "has to divide q_len",
      {{causal}}, {4, 8});
  expect(ErrorCode::kTooLarge, "work within 64 bits, got more", {{causal, int64_t{1} << 60}},
         {2, 8});
  ExpectError(invalid, "[mask] expected zigzag(n) with 2n to divide q_len (48), got n = 16", [&] {
    ShardBalancer({{causal}}, {16, 3}, InBlocksOf({3, 8})).Balance(BalanceMethod::kZigzag);
  });
  const int64_t vast = int64_t{1} << 31;
  ExpectError(ErrorCode::kTooLarge, "[balance] expected q_len below 2^31, got 2147483648", [&] {
    ShardBalancer({{MultiHeadMask(Mask::Full({vast, 8}), 1)}}, {2, 8}, InBlocksOf({8, 8}));
  });
}

}  // namespace
}  // namespace splashmask
