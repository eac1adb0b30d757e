// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/compile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <thread>

#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/simplify_savings.h"
#include "tests/planner/plans.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"

namespace splashmask {
namespace {

std::vector<int32_t> Entries(const Table& table) {
  std::vector<int32_t> entries(static_cast<size_t>(table.size()));
  for (int64_t i = 0; i < table.size(); ++i) entries[i] = table.At(i);
  return entries;
}

// Each mask, and what has to be compiled for it.
TEST(CompileTest, SimplifiedMasksAreCompiledAsTheSimplerMask) {
  const Shape shape{64, 64};
  CompileOptions simplify = AllPasses({8, 8});
  simplify.plan.simplify = true;
  const auto plan = [&](const std::string& text, const CompileOptions& options) {
    return Compile(ParseMultiHeadMask(text, shape), options);
  };
  for (const auto& [text, simpler] :
       {std::pair("causal() & local(100, none)", "causal()"),
        std::pair("causal() & local(9, none)", "local(9, 0)"),
        std::pair("chunked_causal(64) | chunked_causal(8)", "causal()"),
        std::pair("[causal() | full() ^ full(), ~~causal()]", "[causal() * 2]"),
        std::pair("reorder(causal() | causal(-1), q=zigzag(4))",
                  "reorder(causal(), q=zigzag(4))")}) {
    SCOPED_TRACE(text);
    ExpectSamePasses(plan(simpler, AllPasses({8, 8})), plan(text, simplify));
  }
  const Plan documents = plan("documents([64]) & documents([20, 44])", simplify);
  ExpectSamePasses(plan("documents([20, 44])", AllPasses({8, 8})), documents);
  EXPECT_EQ(ToString(documents.mask), "[documents([64]) & documents([20, 44])]")
      << "as it was written";
}

TEST(CompileTest, SavingsOfSimplifying) {
  const Shape shape{64, 64};
  CompileOptions options = AllPasses({8, 16});
  options.dq.reset();
  options.plan.simplify = true;
  const auto savings = [&](const std::string& text) {
    return FindSavings(Compile(ParseMultiHeadMask(text, shape), options));
  };
  using PassCost = MaskCost::PassCost;
  // Blocks of 8 x 16 on the diagonal begin at column 0 or 8: two that differ, of 16 bytes each.
  SimplifySavings found = savings("[causal() & full(), causal()]");
  EXPECT_EQ(found.after,
            (MaskCost{1, 1, {PassCost{Pass::kFwd, true, 0, 0}, PassCost{Pass::kDkv, true, 0, 0}}}));
  EXPECT_EQ(
      found.before,
      (MaskCost{2, 4, {PassCost{Pass::kFwd, false, 2, 32}, PassCost{Pass::kDkv, false, 2, 32}}}));
  // Nothing to compare to.
  found = savings("documents([20, 44])");
  EXPECT_EQ(found.before, found.after);
  EXPECT_EQ(found.after.nodes, 1);
  EXPECT_GT(found.after.passes[0].partial_blocks, 0);
  found = savings("local(0, 0) | local(1, 1)");
  EXPECT_EQ(found.before->nodes, 3);
  EXPECT_GT(found.before->passes[0].partial_bytes, 0);
  EXPECT_TRUE(found.after.passes[1].is_computed);
  // Heads that are not seen to be one mask would need tables of their own, 2^20 of them.
  const Shape long_shape{1 << 14, 1 << 14};
  std::vector<Mask> heads(kMaxHeads, Mask::Causal(long_shape));
  heads.back() = ~~heads.back();
  CompileOptions many;
  many.fwd = BlockShape{16, 16};
  many.plan.simplify = true;
  found = FindSavings(Compile(MultiHeadMask(heads), many));
  EXPECT_FALSE(found.before);
  EXPECT_EQ(found.after, (MaskCost{1, 1, {PassCost{Pass::kFwd, true, 0, 0}}}));
  options.plan.simplify = false;
  ExpectError(ErrorCode::kInvalidArgument,
              "[savings] expected a plan compiled with simplify, got one without",
              [&] { savings("causal()"); });
}

// A dense mask of tiles that are empty, full, full in some rows alone, or noise: its blocks are
// drawn side by side, some rows at a time.
Mask TiledDense(Shape shape, int64_t tile, uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto cells = std::make_shared<std::vector<uint8_t>>(shape.q_len * shape.kv_len);
  for (int64_t q0 = 0; q0 < shape.q_len; q0 += tile) {
    for (int64_t k0 = 0; k0 < shape.kv_len; k0 += tile) {
      const uint64_t kind = random() % 5;
      const auto full_rows = static_cast<int64_t>(random() % static_cast<uint64_t>(tile));
      for (int64_t q = q0; q < std::min(q0 + tile, shape.q_len); ++q) {
        for (int64_t k = k0; k < std::min(k0 + tile, shape.kv_len); ++k) {
          (*cells)[q * shape.kv_len + k] = kind == 0   ? 0
                                           : kind == 1 ? 1
                                           : kind == 2 ? q - q0 < full_rows
                                           : kind == 3 ? q - q0 >= full_rows
                                                       : random() % 2;
        }
      }
    }
  }
  return Mask::Dense(shape, Array(DType::kBool, {shape.q_len, shape.kv_len},
                                  std::shared_ptr<const void>(cells, cells->data())));
}

TEST(CompileTest, DenseMasksInBlocksOfEveryKind) {
  const Shape shape{120, 640};
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const Mask dense = TiledDense(shape, seed % 2 == 0 ? 20 : 64, seed);
    const Mask clipped = dense & Mask::Causal(shape, 400);
    for (const Mask& mask : {dense, clipped, clipped.Reorder(Positions::Striped(4))}) {
      for (const BlockShape block :
           {BlockShape{20, 64}, {24, 128}, {120, 640}, {8, 64}, {20, 80}}) {
        SCOPED_TRACE("seed " + std::to_string(seed) + " block " + std::to_string(block.q) + " x " +
                     std::to_string(block.kv));
        const CompileOptions options = AllPasses(block);
        const MultiHeadMask heads(mask, 1);
        ExpectSamePasses(NaivePlan(heads, options), Compile(heads, options));
      }
    }
  }
}

// Written out by hand from the definition; 4 x 4 blocks of a causal mask.
TEST(CompileTest, CausalShrinksNothingAndSkipsUpperBlocks) {
  const Plan plan = Compile(MultiHeadMask(Mask::Causal({8, 8}), 1), AllPasses({2, 2}));
  const MaskInfo& fwd = plan.fwd->info;
  EXPECT_EQ((std::array<int64_t, 3>{1, 4, 4}), fwd.block_mask->shape());
  EXPECT_EQ(DType::kInt8, fwd.block_mask->dtype());
  EXPECT_EQ((std::vector<int32_t>{1, 0, 0, 0,  //
                                  2, 1, 0, 0,  //
                                  2, 2, 1, 0,  //
                                  2, 2, 2, 1}),
            Entries(*fwd.block_mask));
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0,  //
                                  0, 1, 0, 0,  //
                                  0, 1, 2, 0,  //
                                  0, 1, 2, 3}),
            Entries(*fwd.data_next));
  // The kernel computes a causal mask from q_sequence.
  EXPECT_FALSE(fwd.mask_next.has_value());
  EXPECT_FALSE(fwd.partial_mask_blocks.has_value());
  EXPECT_EQ((std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}), fwd.q_sequence->ToInt64());
  EXPECT_EQ("causal()", ToString(*plan.fwd->mask_function));
  EXPECT_TRUE(plan.fwd == plan.dq);

  // dkv pads at the top.
  const MaskInfo& dkv = plan.dkv->info;
  EXPECT_EQ((std::vector<int32_t>{1, 0, 0, 0,  //
                                  2, 1, 0, 0,  //
                                  2, 2, 1, 0,  //
                                  2, 2, 2, 1}),
            Entries(*dkv.block_mask));
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0,  //
                                  1, 1, 0, 0,  //
                                  2, 2, 2, 0,  //
                                  3, 3, 3, 3}),
            Entries(*dkv.data_next));
}

TEST(CompileTest, PartialBlocksAreNumberedOnceInOrderAndWrapAround) {
  // Not computable alone, so its two partial blocks are stored: the diagonal and the corner below.
  const Mask mask = Mask::Causal({6, 6}) & Mask::Local({6, 6}, 1, {});
  const Plan plan = Compile(MultiHeadMask(mask, 2), AllPasses({2, 2}));
  const MaskInfo& fwd = plan.fwd->info;
  EXPECT_EQ((std::vector<int32_t>{1, 0,  //
                                  1, 1,  //
                                  1, 1}),
            Entries(*fwd.block_mask));
  EXPECT_EQ((std::vector<int32_t>{0, 0,  //
                                  0, 1,  //
                                  1, 2}),
            Entries(*fwd.data_next));
  EXPECT_EQ((std::vector<int32_t>{0, 0,  //
                                  1, 0,  //
                                  1, 0}),
            Entries(*fwd.mask_next));
  ASSERT_EQ(2, fwd.partial_mask_blocks->count());
  EXPECT_EQ(std::byte{0b01}, fwd.partial_mask_blocks->data()[0]);
  EXPECT_EQ(std::byte{0b11}, fwd.partial_mask_blocks->data()[1]);
  EXPECT_EQ(std::byte{0b10}, fwd.partial_mask_blocks->data()[2]);
  EXPECT_EQ(std::byte{0b00}, fwd.partial_mask_blocks->data()[3]);
  // dkv holds the transposed blocks.
  const PartialMaskBlocks& dkv = *plan.dkv->info.partial_mask_blocks;
  EXPECT_EQ(std::byte{0b11}, dkv.data()[0]);
  EXPECT_EQ(std::byte{0b10}, dkv.data()[1]);
  EXPECT_EQ(std::byte{0b00}, dkv.data()[2]);
  EXPECT_EQ(std::byte{0b01}, dkv.data()[3]);
}

TEST(CompileTest, ShardsWithoutAnyVisibleBlockHoldZeros) {
  // The second q shard sees nothing: JAX fails here.
  const MultiHeadMask mask(Mask::QRange({8, 8}, 0, 3) & Mask::Prefix({8, 8}, 2), 1);
  CompileOptions options = AllPasses({2, 2});
  options.plan.q_seq_shards = 2;
  const Plan plan = Compile(mask, options);
  EXPECT_EQ((std::array<int64_t, 3>{1, 4, 1}), plan.fwd->info.block_mask->shape());
  EXPECT_EQ((std::vector<int32_t>{2, 1, 0, 0}), Entries(*plan.fwd->info.block_mask));
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0}), Entries(*plan.fwd->info.data_next));

  const Plan empty = Compile(MultiHeadMask(Mask::Empty({8, 8}), 3), options);
  EXPECT_EQ((std::array<int64_t, 3>{1, 4, 1}), empty.fwd->info.block_mask->shape());
  EXPECT_EQ((std::array<int64_t, 3>{1, 2, 4}), empty.dkv->info.block_mask->shape());
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0}), Entries(*empty.fwd->info.data_next));
  EXPECT_FALSE(empty.fwd->info.mask_next.has_value());
}

TEST(CompileTest, TheFusedBackwardHasNoDqAndKeepsDkvWhole) {
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{2, 2};
  options.plan.use_fused_bwd_kernel = true;
  const MultiHeadMask mask(Mask::Local({8, 8}, 1, 0), 1);
  const Plan plan = Compile(mask, options);
  EXPECT_FALSE(plan.dq.has_value());
  EXPECT_EQ((std::array<int64_t, 3>{1, 4, 2}), plan.fwd->info.block_mask->shape());
  EXPECT_EQ((std::array<int64_t, 3>{1, 4, 4}), plan.dkv->info.block_mask->shape());
}

// Long enough rows, scattered enough, that blocks are classified from runs.
TEST(CompileTest, ScatteredOrdersEqualTheReference) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const Shape shape{96, 1024};
    std::vector<int64_t> positions(96);
    std::iota(positions.begin(), positions.end(), 0);
    std::shuffle(positions.begin(), positions.end(), random);
    const Mask bands[] = {
        Mask::Causal(shape, 400),
        Mask::Local(shape, 300, 20, 350),
        Mask::Causal(shape, 400) & Mask::Documents(shape, {30, 20, 40}),
        ~Mask::Local(shape, 300, 20, 350) | Mask::ChunkedCausal(shape, 32),
        Mask::Local(shape, 64, 128, 64) ^ Mask::Prefix(shape, 130),
        Mask::Stride(shape, 500) | Mask::KvRange(shape, 128, 512),
    };
    for (const Mask& band : bands) {
      if (seed % 2 == 1) positions[seed] = 700 - 50 * static_cast<int64_t>(seed);
      const Mask mask = band.Reorder(Positions::FromArray(Array::FromVector(positions)));
      const CompileOptions options = AllPasses({48, 64});
      CompileStats stats;
      ExpectSamePasses(NaivePlan(MultiHeadMask(mask, 1), options),
                       Compile(MultiHeadMask(mask, 1), options, &stats));
      EXPECT_GT(stats.runs, 0);
    }
  }
}

TEST(CompileTest, TheResultDoesNotDependOnTheNumberOfThreads) {
  const Shape shape{2048, 2048};
  std::vector<int64_t> lengths;
  std::mt19937_64 random(3);
  for (int64_t left = 2048; left > 0; left -= lengths.back()) {
    lengths.push_back(std::min<int64_t>(left, static_cast<int64_t>(random() % 300) + 1));
  }
  const Mask a = Mask::Causal(shape) & Mask::Documents(shape, lengths);
  const Mask b = (Mask::Stride(shape, 7) | Mask::Local(shape, 30, 9)) ^ Mask::Prefix(shape, 77);
  const MultiHeadMask mask({a, b, a, b});
  CompileOptions options = AllPasses({32, 64});
  options.plan.head_shards = 2;
  options.plan.q_seq_shards = 4;
  options.threads = 1;
  const Plan expected = Compile(mask, options);
  for (int threads : {2, 3, 8, 8, 8}) {
    options.threads = threads;
    ExpectSamePasses(expected, Compile(mask, options));
  }
}

TEST(CompileTest, ManyCallersAtOnce) {
  const MultiHeadMask mask(Mask::Causal({512, 512}) & Mask::Stride({512, 512}, 5), 2);
  const CompileOptions options = AllPasses({16, 16});
  const Plan expected = Compile(mask, options);
  std::vector<std::thread> callers;
  std::atomic<int> right = 0;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&, i] {
      CompileOptions mine = options;
      mine.threads = i % 4;
      const Plan plan = Compile(mask, mine);
      right += plan.fwd == expected.fwd && plan.dq == expected.dq && plan.dkv == expected.dkv;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(8, right);
}

TEST(CompileTest, RefusesWhatDoesNotDivide) {
  const auto compile = [](Shape shape, int64_t heads, BlockShape block, PlanOptions plan) {
    CompileOptions options;
    options.fwd = block;
    options.plan = plan;
    Compile(MultiHeadMask(Mask::Causal(shape), heads), options);
  };
  const auto invalid = ErrorCode::kInvalidArgument;
  ExpectError(invalid,
              "[compile] expected block_q (384) to divide q_len (1000): nearest are 250 and 500",
              [&] {
                compile({1000, 1000}, 1, {384, 100}, {});
              });
  ExpectError(invalid,
              "[compile] expected block_kv (2048) to divide kv_len (1000): nearest is 1000", [&] {
                compile({1000, 1000}, 1, {100, 2048}, {});
              });
  ExpectError(invalid, "[compile] expected block_q of at least 1, got 0", [&] {
    compile({1000, 1000}, 1, {0, 100}, {});
  });
  PlanOptions plan;
  plan.q_seq_shards = 3;
  ExpectError(invalid,
              "[compile] expected q_seq_shards (3) to divide q_len (1000): nearest are 2 and 4",
              [&] {
                compile({1000, 1000}, 1, {100, 100}, plan);
              });
  plan.q_seq_shards = 4;
  ExpectError(invalid,
              "[compile] expected block_q (500) to divide q_len / q_seq_shards (250): nearest is "
              "250",
              [&] {
                compile({1000, 1000}, 1, {500, 100}, plan);
              });
  plan.q_seq_shards = 1;
  plan.head_shards = 4;
  ExpectError(invalid,
              "[compile] expected head_shards (4) to divide the number of heads (6): nearest are 3 "
              "and 6",
              [&] {
                compile({1000, 1000}, 6, {100, 100}, plan);
              });
  plan.head_shards = 0;
  ExpectError(invalid, "[compile] expected head_shards of at least 1, got 0", [&] {
    compile({1000, 1000}, 6, {100, 100}, plan);
  });
  ExpectError(invalid,
              "[compile] expected no block shape for dq with use_fused_bwd_kernel, which has no dq "
              "pass",
              [] {
                CompileOptions options = AllPasses({2, 2});
                options.plan.use_fused_bwd_kernel = true;
                Compile(MultiHeadMask(Mask::Causal({4, 4}), 1), options);
              });
  ExpectError(invalid, "[compile] expected threads of at least 0, got -1", [] {
    CompileOptions options = AllPasses({2, 2});
    options.threads = -1;
    Compile(MultiHeadMask(Mask::Causal({4, 4}), 1), options);
  });
}

TEST(CompileTest, RefusesTablesThatCannotFitBeforeAllocating) {
  const int64_t huge = int64_t{1} << 50;
  const MultiHeadMask mask(Mask::Causal({huge, huge}), 1);
  CompileOptions options = AllPasses({1024, 1024});
  ExpectErrorBegins(ErrorCode::kTooLarge, "[compile] expected tables that fit in memory (",
                    [&] { Compile(mask, options); });
  // Shrunk ones could be short, but a few rows tell that they are not.
  const int64_t long_ = int64_t{1} << 30;
  const Shape shape{long_, long_};
  for (const Mask& wide :
       {Mask::Full(shape), Mask::Causal(shape), Mask::Causal(shape, -long_ / 2)}) {
    for (const bool fused : {false, true}) {
      SCOPED_TRACE(ToString(wide));
      CompileOptions one;
      (fused ? one.dkv : one.fwd) = BlockShape{512, 512};
      one.plan.use_fused_bwd_kernel = fused;
      std::atomic<bool> stop = true;
      one.progress.stop = &stop;  // What goes on to classify throws kCancelled.
      ExpectErrorBegins(ErrorCode::kTooLarge,
                        fused ? "[compile] expected tables that fit in memory ("
                              : "[compile] expected the tables to fit in memory (",
                        [&] { Compile(MultiHeadMask(wide, 1), one); });
    }
  }
  CompileOptions dkv;
  dkv.dkv = BlockShape{512, 512};
  ExpectErrorBegins(ErrorCode::kTooLarge, "[compile] expected the tables to fit in memory (",
                    [&] { Compile(MultiHeadMask(Mask::Causal(shape), 1), dkv); });
}

TEST(CompileTest, StopsWhenAsked) {
  std::atomic<bool> stop = false;
  CompileOptions options = AllPasses({16, 16});
  options.progress.stop = &stop;
  options.progress.report = [&](double) { stop = true; };
  const MultiHeadMask mask({Mask::Stride({4096, 4096}, 7), Mask::Stride({4096, 4096}, 9)});
  stop = true;
  ExpectError(ErrorCode::kCancelled, "[progress] stopped at the caller's request",
              [&] { Compile(mask, options); });
}

TEST(CompileTest, ReportsProgressUpwardsToOne) {
  std::vector<double> reported;
  CompileOptions options = AllPasses({16, 16});
  options.dkv = BlockShape{32, 16};
  options.progress.report = [&](double done) { reported.push_back(done); };
  Compile(MultiHeadMask(Mask::Causal({512, 512}) & Mask::Stride({512, 512}, 3), 1), options);
  ASSERT_EQ(5, reported.size());  // Classified and drawn, for two block shapes, and done.
  EXPECT_TRUE(std::is_sorted(reported.begin(), reported.end()));
  EXPECT_EQ(1, reported.back());
}

TEST(EmptyRowsTest, EqualsTheCells) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 300; ++i) {
    const Shape shape{static_cast<int64_t>(random() % 40 + 1),
                      static_cast<int64_t>(random() % 600 + 1)};
    const int64_t a = static_cast<int64_t>(random() % 700) - 650;
    const Mask masks[] = {Mask::Causal(shape, a),
                          Mask::Local(shape, 3, 5, a) & Mask::Stride(shape, 9),
                          Mask::QRange(shape, 3, 9) - Mask::Prefix(shape, shape.kv_len - i % 2),
                          Mask::Local(shape, 0, 0)
                              .Reorder(Positions::FromArray(Array::FromVector(std::vector<int64_t>(
                                  static_cast<size_t>(shape.q_len), i % 3 == 0 ? -1 : 0))))};
    for (const Mask& mask : masks) {
      SCOPED_TRACE(ToString(mask));
      PositionRanges expected;
      const std::vector<uint8_t> cells = NaiveCells(mask);
      for (int64_t q = 0; q < shape.q_len; ++q) {
        const auto row = cells.begin() + q * shape.kv_len;
        if (std::any_of(row, row + shape.kv_len, [](uint8_t cell) { return cell != 0; })) continue;
        if (!expected.empty() && expected.back().second == q) {
          ++expected.back().second;
        } else {
          expected.emplace_back(q, q + 1);
        }
      }
      ASSERT_EQ(expected, EmptyRows(mask, 1 + i % 2));
    }
  }
}

TEST(CompileTest, BlocksOfAnySizeThatHoldNoBits) {
  const Shape shape{128, int64_t{1} << 60};
  CompileOptions options;
  options.fwd = BlockShape{shape.q_len, shape.kv_len};
  EXPECT_EQ(Compile(MultiHeadMask(Mask::Full(shape), 1), options).fwd->info.partial_mask_blocks,
            std::nullopt);
  ExpectError(
      ErrorCode::kTooLarge,
      "[compile] expected a partial block that fits in memory, got 128 x "
      "1152921504606846976 cells: use smaller blocks",
      [&] { Compile(MultiHeadMask(Mask::Full(shape) & Mask::Stride(shape, 3), 1), options); });
}

}  // namespace
}  // namespace splashmask
