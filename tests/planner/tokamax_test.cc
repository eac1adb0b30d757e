// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/tokamax.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_tokamax.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

using List = std::vector<int64_t>;

TokamaxOptions Fwd(BlockShape block) {
  TokamaxOptions options;
  options.block = block;
  return options;
}

TokamaxOptions Dkv(BlockShape block) {
  TokamaxOptions options = Fwd(block);
  options.is_dkv = true;
  return options;
}

Mask DenseMask(Shape shape, const std::string& cells) {
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  for (const char cell : cells) {
    if (cell != ' ') bytes->push_back(cell == 'x');
  }
  return Mask::Dense(shape, Array(DType::kBool, {shape.q_len, shape.kv_len},
                                  std::shared_ptr<const void>(bytes, bytes->data())));
}

void ExpectList(DType dtype, const List& expected, const std::optional<Array>& got) {
  ASSERT_TRUE(got.has_value());
  EXPECT_EQ(DTypeName(dtype), DTypeName(got->dtype()));
  EXPECT_EQ((List{std::ssize(expected)}), got->shape());
  EXPECT_EQ(expected, got->ToInt64());
}

// ---- Written out by hand from the definition.

TEST(TokamaxTest, CausalListsTheLowerBlocks) {
  const TokamaxPass pass = CompileTokamax(Mask::Causal({6, 6}), Fwd({2, 2}));
  ExpectList(DType::kInt8, {0, 1, 1, 2, 2, 2}, pass.info.active_rows);
  ExpectList(DType::kInt8, {0, 0, 1, 0, 1, 2}, pass.info.active_cols);
  ExpectList(DType::kInt8, {1, 2, 1, 2, 2, 1}, pass.info.block_mask);
  ExpectList(DType::kInt32, {6}, pass.info.num_active_blocks);
  // The kernel computes a causal mask from q_sequence.
  ExpectList(DType::kInt32, {0, 1, 2, 3, 4, 5}, pass.info.q_sequence);
  EXPECT_FALSE(pass.info.mask_next.has_value());
  EXPECT_FALSE(pass.info.partial_mask_blocks.has_value());
  ASSERT_TRUE(pass.mask_function.has_value());
  EXPECT_EQ("causal()", ToString(*pass.mask_function));
}

TEST(TokamaxTest, DkvVisitsTheFirstBlockOfRowsThatSeeNothing) {
  const TokamaxPass pass = CompileTokamax(Mask::Causal({4, 8}), Dkv({2, 2}));
  ExpectList(DType::kInt8, {0, 0, 1, 2, 3}, pass.info.active_rows);
  ExpectList(DType::kInt8, {0, 1, 1, 0, 0}, pass.info.active_cols);
  ExpectList(DType::kInt8, {1, 2, 1, 0, 0}, pass.info.block_mask);
  ExpectList(DType::kInt32, {5}, pass.info.num_active_blocks);
}

// Blocks of 1 x 2: a b, where a is [x.], b is [.x], F full, . empty.
//   F a . b
//   . . . .
//   b F . .
TEST(TokamaxTest, MaskNextNamesTheNextPartialBlockAndWrapsAround) {
  const Mask mask = DenseMask({3, 8}, "xxx....x ........ .xxx....");
  const TokamaxPass fwd = CompileTokamax(mask, Fwd({1, 2}));
  ExpectList(DType::kInt8, {0, 0, 0, 2, 2}, fwd.info.active_rows);
  ExpectList(DType::kInt8, {0, 1, 3, 0, 1}, fwd.info.active_cols);
  ExpectList(DType::kInt8, {2, 1, 1, 1, 2}, fwd.info.block_mask);
  ExpectList(DType::kInt8, {0, 0, 1, 1, 0}, fwd.info.mask_next);
  ASSERT_EQ((List{2}), fwd.info.partial_mask_blocks->leading());
  EXPECT_TRUE(fwd.info.partial_mask_blocks->At(0, 0, 0));
  EXPECT_FALSE(fwd.info.partial_mask_blocks->At(0, 0, 1));
  EXPECT_TRUE(fwd.info.partial_mask_blocks->At(1, 0, 1));
  EXPECT_FALSE(fwd.info.q_sequence.has_value());
  EXPECT_FALSE(fwd.mask_function.has_value());

  // kv block 2 sees nothing, and gets a visit that fetches what comes after it.
  const TokamaxPass dkv = CompileTokamax(mask, Dkv({1, 2}));
  ExpectList(DType::kInt8, {0, 0, 1, 1, 2, 3}, dkv.info.active_rows);
  ExpectList(DType::kInt8, {0, 2, 0, 2, 0, 0}, dkv.info.active_cols);
  ExpectList(DType::kInt8, {2, 1, 1, 2, 0, 1}, dkv.info.block_mask);
  ExpectList(DType::kInt8, {1, 1, 0, 1, 1, 1}, dkv.info.mask_next);
  EXPECT_EQ(2, dkv.info.partial_mask_blocks->rows());
  EXPECT_EQ(1, dkv.info.partial_mask_blocks->columns());
}

TEST(TokamaxTest, StaticGridListsEveryBlock) {
  const Mask mask = DenseMask({3, 8}, "xxx....x ........ .xxx....");
  TokamaxOptions options = Fwd({1, 2});
  options.return_dynamic_grid = false;
  const TokamaxMaskInfo fwd = CompileTokamax(mask, options).info;
  ExpectList(DType::kInt8, {2, 1, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0}, fwd.block_mask);
  ExpectList(DType::kInt8, {0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0}, fwd.mask_next);
  EXPECT_FALSE(fwd.active_rows || fwd.active_cols || fwd.num_active_blocks);

  options.is_dkv = true;
  const TokamaxMaskInfo dkv = CompileTokamax(mask, options).info;
  ExpectList(DType::kInt8, {2, 0, 1, 1, 0, 2, 0, 0, 0, 1, 0, 0}, dkv.block_mask);
  ExpectList(DType::kInt8, {1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1}, dkv.mask_next);
}

TEST(TokamaxTest, ShardsCountFromTheirStartAndArePaddedToTheLongest) {
  TokamaxOptions options = Fwd({1, 2});
  options.q_seq_shards = 3;
  options.kv_seq_shards = 2;
  const Mask mask = DenseMask({3, 8}, "xxx....x ........ .xxx....");
  const TokamaxMaskInfo fwd = CompileTokamax(mask, options).info;
  ExpectList(DType::kInt32, {2, 1, 0, 0, 2, 0}, fwd.num_active_blocks);
  ExpectList(DType::kInt8, {0, 0, 0, -1, -1, -1, -1, -1, 0, 0, -1, -1}, fwd.active_rows);
  ExpectList(DType::kInt8, {0, 1, 1, -1, -1, -1, -1, -1, 0, 1, -1, -1}, fwd.active_cols);
  ExpectList(DType::kInt8, {2, 1, 1, -1, -1, -1, -1, -1, 1, 2, -1, -1}, fwd.block_mask);
  ExpectList(DType::kInt8, {0, 0, 1, -1, -1, -1, -1, -1, 1, 1, -1, -1}, fwd.mask_next);
}

TEST(TokamaxTest, ShardWithoutPartialBlocksNamesNone) {
  TokamaxOptions options = Fwd({1, 2});
  options.q_seq_shards = 2;
  const TokamaxMaskInfo fwd = CompileTokamax(DenseMask({2, 4}, "xx.x xxxx"), options).info;
  ExpectList(DType::kInt8, {0, 0, -1, -1}, fwd.mask_next);
}

TEST(TokamaxTest, NoPartialBlockAtAllHasNoMaskNext) {
  const TokamaxMaskInfo fwd = CompileTokamax(Mask::Prefix({4, 4}, 2), Fwd({2, 2})).info;
  ExpectList(DType::kInt8, {2, 2}, fwd.block_mask);
  EXPECT_FALSE(fwd.mask_next || fwd.partial_mask_blocks);
}

TEST(TokamaxTest, AllVisibleHasNoLists) {
  for (const TokamaxOptions& options : {Fwd({2, 2}), Dkv({2, 2})}) {
    TokamaxPass expected;
    expected.options = options;
    EXPECT_TRUE(CompileTokamax(Mask::Full({4, 4}), options) == expected);
    // Positions stay, the function that nobody needs goes.
    expected.info.q_sequence = Array::FromVector(std::vector<int32_t>{0, 1, 2, 3});
    EXPECT_TRUE(CompileTokamax(Mask::Causal({4, 4}, 3), options) == expected);
    EXPECT_TRUE(CompileTokamax(Mask::Local({4, 4}, {}, {}), options) == expected);
  }
}

TEST(TokamaxTest, NothingVisibleHasEmptyListsThatAreNotDowncast) {
  const TokamaxMaskInfo fwd = CompileTokamax(Mask::Empty({4, 4}), Fwd({2, 2})).info;
  ExpectList(DType::kInt32, {}, fwd.active_rows);
  ExpectList(DType::kInt32, {}, fwd.active_cols);
  ExpectList(DType::kInt32, {}, fwd.block_mask);
  ExpectList(DType::kInt32, {0}, fwd.num_active_blocks);
  EXPECT_FALSE(fwd.mask_next || fwd.partial_mask_blocks || fwd.q_sequence);

  const TokamaxMaskInfo dkv = CompileTokamax(Mask::Empty({4, 4}), Dkv({2, 2})).info;
  ExpectList(DType::kInt8, {0, 1}, dkv.active_rows);
  ExpectList(DType::kInt8, {0, 0}, dkv.active_cols);
  ExpectList(DType::kInt8, {0, 0}, dkv.block_mask);
  ExpectList(DType::kInt32, {2}, dkv.num_active_blocks);
}

TEST(TokamaxTest, ReorderedComputableMaskKeepsThePositionsDtype) {
  const Array positions = Array::FromVector(std::vector<int64_t>{3, 2, 1, 0});
  const Mask mask = Mask::Causal({4, 4}).Reorder(Positions::FromArray(positions));
  const TokamaxPass pass = CompileTokamax(mask, Fwd({2, 2}));
  ExpectList(DType::kInt64, {3, 2, 1, 0}, pass.info.q_sequence);
  ExpectList(DType::kInt8, {2, 1, 1}, pass.info.block_mask);
  EXPECT_EQ("causal()", ToString(*pass.mask_function));
  // Compositions are not computable, as in tokamax.
  EXPECT_FALSE(CompileTokamax(mask & mask, Fwd({2, 2})).info.q_sequence.has_value());
}

DType TypeOf(const std::optional<Array>& list) { return list->dtype(); }

TEST(TokamaxTest, DowncastsEachListByItsLargestEntry) {
  for (const auto& [blocks, dtype] : {std::pair<int64_t, DType>{128, DType::kInt8},
                                      {129, DType::kInt16},
                                      {32768, DType::kInt16},
                                      {32769, DType::kInt32}}) {
    SCOPED_TRACE(blocks);
    // One long axis of blocks, the last of which is visible.
    const TokamaxMaskInfo wide =
        CompileTokamax(Mask::KvRange({1, blocks}, 1, blocks), Fwd({1, 1})).info;
    EXPECT_EQ(dtype, TypeOf(wide.active_cols));
    EXPECT_EQ(DType::kInt8, TypeOf(wide.active_rows));
    EXPECT_EQ(DType::kInt8, TypeOf(wide.block_mask));
    const TokamaxMaskInfo tall =
        CompileTokamax(Mask::QRange({blocks, 1}, 1, blocks), Fwd({1, 1})).info;
    EXPECT_EQ(dtype, TypeOf(tall.active_rows));
    EXPECT_EQ(DType::kInt8, TypeOf(tall.active_cols));

    TokamaxOptions options = Fwd({1, 1});
    options.downcast_smem_data = false;
    const Mask mask = Mask::KvRange({1, blocks}, 1, blocks);
    EXPECT_EQ(DType::kInt32, TypeOf(CompileTokamax(mask, options).info.active_cols));
    EXPECT_EQ(DType::kInt32, TypeOf(CompileTokamax(mask, options).info.block_mask));
  }
}

TEST(TokamaxTest, DowncastsMaskNextByTheNumberOfPartialBlocks) {
  for (const auto& [count, dtype] :
       {std::pair<int64_t, DType>{128, DType::kInt8}, {129, DType::kInt16}}) {
    // Block i shows the bits of i + 1 in its 8 cells.
    std::string cells;
    for (int64_t i = 1; i <= count; ++i) {
      for (int bit = 0; bit < 8; ++bit) cells += (i >> bit & 1) != 0 ? 'x' : '.';
    }
    const Mask mask = DenseMask({1, 8 * count}, cells);
    const TokamaxMaskInfo info = CompileTokamax(mask, Fwd({1, 8})).info;
    EXPECT_EQ((List{count}), info.partial_mask_blocks->leading());
    EXPECT_EQ(dtype, TypeOf(info.mask_next));
  }
}

// ---- Random masks against the reference.

struct Case {
  Mask mask;
  TokamaxOptions options;
};

Case MakeCase(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto uniform = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  TokamaxOptions options;
  options.block = {uniform(1, 6), uniform(1, 6)};
  options.q_seq_shards = uniform(1, 3);
  options.kv_seq_shards = uniform(1, 3);
  int64_t q_blocks = uniform(1, 4) * options.q_seq_shards;
  int64_t kv_blocks = uniform(1, 4) * options.kv_seq_shards;
  if (uniform(0, 15) == 0) {  // Long enough for int16 and for more than one tile.
    options.block = {1, 1};
    q_blocks = uniform(1, 3) * options.q_seq_shards;
    kv_blocks = uniform(100, 300) * options.kv_seq_shards;
    if (uniform(0, 1) == 0) {
      std::swap(q_blocks, kv_blocks);
      std::swap(options.q_seq_shards, options.kv_seq_shards);
    }
  }
  options.is_dkv = uniform(0, 1) == 0;
  options.downcast_smem_data = uniform(0, 2) != 0;
  options.return_dynamic_grid = uniform(0, 2) != 0;
  options.simplify = uniform(0, 3) == 0;
  const Shape shape{q_blocks * options.block.q, kv_blocks * options.block.kv};
  const int depth = static_cast<int>(uniform(0, 3));
  return {RandomMask(random, shape, depth), options};
}

std::string Describe(const Case& c) {
  const TokamaxOptions& o = c.options;
  return ToString(c.mask) + " shape " + std::to_string(c.mask.shape().q_len) + "x" +
         std::to_string(c.mask.shape().kv_len) + " block " + std::to_string(o.block.q) + "x" +
         std::to_string(o.block.kv) + " shards " + std::to_string(o.q_seq_shards) + "x" +
         std::to_string(o.kv_seq_shards) + (o.is_dkv ? " dkv" : " fwd") +
         (o.downcast_smem_data ? " downcast" : "") + (o.return_dynamic_grid ? " dynamic" : "") +
         (o.simplify ? " simplify" : "");
}

void ExpectSameList(const std::optional<Array>& expected, const std::optional<Array>& got,
                    const char* name) {
  ASSERT_EQ(expected.has_value(), got.has_value()) << name;
  if (!expected) return;
  EXPECT_EQ(DTypeName(expected->dtype()), DTypeName(got->dtype())) << name;
  EXPECT_EQ(expected->shape(), got->shape()) << name;
  EXPECT_EQ(expected->ToInt64(), got->ToInt64()) << name;
}

TEST(TokamaxTest, EqualsTheCellByCellReferenceOnEveryField) {
  // That each special case was met, and often.
  int full = 0, computable = 0, padded = 0, dummies = 0, nothing = 0, int16 = 0, no_partial = 0;
  for (uint64_t seed = 0; seed < SampleSize(10000); ++seed) {
    Case c = MakeCase(seed);
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + Describe(c));
    const TokamaxPass expected = NaiveTokamax(c.mask, c.options);
    c.options.threads = static_cast<int>(seed % 3) + 1;
    const TokamaxPass got = CompileTokamax(c.mask, c.options);
    const TokamaxMaskInfo &a = expected.info, &b = got.info;
    ExpectSameList(a.mask_next, b.mask_next, "mask_next");
    ExpectSameList(a.active_rows, b.active_rows, "active_rows");
    ExpectSameList(a.active_cols, b.active_cols, "active_cols");
    ExpectSameList(a.block_mask, b.block_mask, "block_mask");
    ExpectSameList(a.num_active_blocks, b.num_active_blocks, "num_active_blocks");
    ExpectSameList(a.q_sequence, b.q_sequence, "q_sequence");
    EXPECT_TRUE(a.partial_mask_blocks == b.partial_mask_blocks) << "partial_mask_blocks";
    EXPECT_TRUE(expected.mask_function == got.mask_function) << "mask_function";
    if (HasFailure()) return;

    full += !a.block_mask;
    computable += expected.mask_function.has_value();
    no_partial += a.block_mask && !a.mask_next && !expected.mask_function;
    if (!a.active_rows) continue;
    const List rows = a.active_rows->ToInt64(), classes = a.block_mask->ToInt64();
    padded += std::ranges::find(rows, -1) != rows.end();
    dummies += std::ranges::find(classes, 0) != classes.end();
    nothing += rows.empty();
    int16 += a.active_rows->dtype() == DType::kInt16 || a.active_cols->dtype() == DType::kInt16;
  }
  for (const int met : {full, computable, padded, dummies, nothing, int16, no_partial}) {
    EXPECT_GE(met, 5);
  }
  std::cout << "all full " << full << ", computable " << computable << ", padded " << padded
            << ", dummy blocks " << dummies << ", no visible block " << nothing << ", int16 "
            << int16 << ", no partial block " << no_partial << "\n";
}

TEST(TokamaxTest, AnalyticMasksAreNeverLookedAtCellByCell) {
  const Shape shape{1 << 17, 1 << 17};
  const Mask mask = ParseMask("causal() & local(4096, none) | prefix(100)", shape);
  for (TokamaxOptions options : {Fwd({512, 512}), Dkv({512, 512})}) {
    CompileStats stats;
    const TokamaxPass pass = CompileTokamax(mask, options, &stats);
    EXPECT_LT(stats.cells, 64 * 512 * 512);
    // Row r sees the blocks r - 8 to r and block 0.
    EXPECT_EQ(45 + 247 * 10, pass.info.block_mask->size());
    options.threads = 3;
    EXPECT_TRUE(pass == CompileTokamax(mask, options));
  }
}

// ---- Errors.

TEST(TokamaxTest, WhatDoesNotDivideIsNamed) {
  const Mask mask = Mask::Causal({1000, 600});
  const auto expect = [&](const std::string& message, TokamaxOptions options) {
    ExpectError(ErrorCode::kInvalidArgument, "[compile] expected " + message,
                [&] { CompileTokamax(mask, options); });
  };
  const auto shards = [](int64_t q, int64_t kv, BlockShape block = {250, 100}) {
    TokamaxOptions options = Fwd(block);
    options.q_seq_shards = q;
    options.kv_seq_shards = kv;
    return options;
  };
  expect("block_q (384) to divide q_len (1000): nearest are 250 and 500", Fwd({384, 100}));
  expect("block_kv (128) to divide kv_len (600): nearest are 120 and 150", Fwd({250, 128}));
  expect("block_q_dkv (384) to divide q_len (1000): nearest are 250 and 500", Dkv({384, 100}));
  expect("block_kv_dkv (128) to divide kv_len (600): nearest are 120 and 150", Dkv({250, 128}));
  expect("block_q of at least 1, got 0", Fwd({0, 100}));
  expect("block_kv of at least 1, got -4", Fwd({250, -4}));
  expect("q_seq_shards of at least 1, got 0", shards(0, 1));
  expect("kv_seq_shards of at least 1, got -1", shards(1, -1));
  expect("q_seq_shards (3) to divide q_len (1000): nearest are 2 and 4", shards(3, 1));
  expect("kv_seq_shards (7) to divide kv_len (600): nearest are 6 and 8", shards(1, 7));
  expect("block_q (250) to divide q_len / q_seq_shards (125): nearest is 125", shards(8, 1));
  expect("block_kv (100) to divide kv_len / kv_seq_shards (150): nearest are 75 and 150",
         shards(1, 4));
  TokamaxOptions options = Fwd({250, 100});
  options.threads = -1;
  expect("threads of at least 0, got -1", options);
}

TEST(TokamaxTest, WhatDoesNotFitInMemoryIsRefusedAtOnce) {
  const auto expect = [&](const std::string& beginning, const Mask& mask, TokamaxOptions options) {
    ExpectErrorBegins(ErrorCode::kTooLarge, "[compile] expected " + beginning,
                      [&] { CompileTokamax(mask, options); });
  };
  const int64_t large = int64_t{1} << 40;
  expect("tables that fit in memory (", Mask::Causal({large, large}), Fwd({1, 1}));
  expect("at most 2147483647 blocks along each axis", Mask::Causal({1, large}), Fwd({1, 1}));
  TokamaxOptions options = Fwd({1, 1});
  options.kv_seq_shards = 1 << 30;
  expect("lists that fit in memory (", Mask::Causal({1 << 20, 1 << 30}), options);
  options = Fwd({1, 1});
  options.return_dynamic_grid = false;
  expect("tables that fit in memory (", Mask::Causal({1 << 22, 1 << 22}), options);
  // Only classifying tells how many blocks are visible.
  expect("at most 2147483647 listed blocks a shard", Mask::Causal({1 << 17, 1 << 17}), Fwd({1, 1}));
}

TEST(TokamaxTest, StopsWhenTold) {
  const std::atomic<bool> stop = true;
  TokamaxOptions options = Fwd({2, 2});
  options.progress.stop = &stop;
  ExpectError(ErrorCode::kCancelled, "[progress] stopped at the caller's request", [&] {
    CompileTokamax(Mask::Causal({64, 64}), options);
  });
}

TEST(TokamaxTest, ReportsProgressThatNeverFalls) {
  std::vector<double> reported;
  TokamaxOptions options = Fwd({2, 2});
  options.progress.report = [&](double done) { reported.push_back(done); };
  CompileTokamax(ParseMask("causal() & stride(3)", {64, 64}), options);
  EXPECT_TRUE(std::ranges::is_sorted(reported));
  EXPECT_EQ(1, reported.back());
}

}  // namespace
}  // namespace splashmask
