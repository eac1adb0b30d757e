// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/certify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "splashmask/masks/simplify.h"
#include "splashmask/planner/certify/simplify_check.h"
#include "tests/planner/certify_support.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

testing::AssertionResult Accepts(const Plan& plan) {
  const std::optional<Mismatch> mismatch = Verify(plan);
  if (!mismatch) return testing::AssertionSuccess();
  return testing::AssertionFailure() << mismatch->ToString();
}

EmptyRanges Ranges(const std::vector<bool>& is_empty) {
  EmptyRanges ranges;
  for (size_t i = 0; i < is_empty.size(); ++i) {
    if (!is_empty[i]) continue;
    const auto at = static_cast<int64_t>(i);
    if (i > 0 && is_empty[i - 1]) {
      ranges.back().second = at + 1;
    } else {
      ranges.emplace_back(at, at + 1);
    }
  }
  return ranges;
}

EmptyLines NaiveEmptyLines(const Mask& mask) {
  const Shape shape = mask.shape();
  std::vector<bool> rows(static_cast<size_t>(shape.q_len), true);
  std::vector<bool> columns(static_cast<size_t>(shape.kv_len), true);
  for (int64_t q = 0; q < shape.q_len; ++q) {
    for (int64_t kv = 0; kv < shape.kv_len; ++kv) {
      if (NaiveAt(mask, q, kv))
        rows[static_cast<size_t>(q)] = columns[static_cast<size_t>(kv)] = false;
    }
  }
  return {0, Ranges(rows), Ranges(columns)};
}

TEST(CertifyTest, AcceptsRandomPlans) {
  int64_t cells = 0, entries = 0;
  for (uint64_t seed = 0; seed < SampleSize(500); ++seed) {
    const RandomCase random_case = MakeRandomCase(seed);
    const Plan plan = NaivePlan(random_case.mask, random_case.options);
    const Certificate certificate = Certify(plan, {.threads = 1});
    ASSERT_FALSE(certificate.mismatch)
        << "seed " << seed << ": " << certificate.mismatch->ToString();
    cells += certificate.cells;
    entries += certificate.entries;
  }
  std::printf("500 plans proven: %lld cells, %lld entries\n", static_cast<long long>(cells),
              static_cast<long long>(entries));
}

TEST(CertifyTest, CountsCellsOncePerMaskAndBlockShape) {
  const Shape shape{64, 128};
  const MultiHeadMask mask({Mask::Causal(shape), Mask::Full(shape), Mask::Causal(shape)});
  CompileOptions options = AllPasses({16, 16}, {16, 16});
  Certificate certificate = Certify(NaivePlan(mask, options));
  EXPECT_EQ(certificate.cells, 2 * 64 * 128);
  // Three passes of three tables, an entry for each head.
  EXPECT_EQ(certificate.entries, 3 * 3 * 3 * (4 * 8));
  options.dkv = BlockShape{8, 16};
  certificate = Certify(NaivePlan(mask, options));
  EXPECT_EQ(certificate.cells, 2 * 2 * 64 * 128);
}

// JAX compares q positions by value and by bytes, so these heads share tables; int64 ones do not.
TEST(CertifyTest, HeadsWhosePositionsAreWrittenInOtherWays) {
  const Shape shape{8, 24};
  static const uint32_t kZigzag[8] = {0, 1, 6, 7, 2, 3, 4, 5};
  const auto data = std::shared_ptr<const void>(kZigzag, [](const void*) {});
  const Array as_unsigned(DType::kUInt32, {8}, data), as_signed(DType::kInt32, {8}, data);
  const Mask mask = Mask::Causal(shape, 7);
  auto head = [&](const Positions& positions) { return ~mask.Reorder(positions) & mask; };
  const Mask layout = head(Positions::Zigzag(2));
  ASSERT_FALSE(layout == head(Positions::FromArray(as_signed)));
  MultiHeadMask heads(
      {layout, head(Positions::FromArray(as_unsigned)), head(Positions::FromArray(as_signed))});
  Plan plan = NaivePlan(heads, AllPasses({2, 6}, {2, 6}));
  EXPECT_EQ(plan.fwd->info.block_mask->shape()[0], 1);
  EXPECT_TRUE(Accepts(plan));
  heads =
      MultiHeadMask({layout, head(Positions::FromArray(Array::FromVector(as_signed.ToInt64())))});
  plan = NaivePlan(heads, AllPasses({2, 6}, {2, 6}));
  EXPECT_EQ(plan.fwd->info.block_mask->shape()[0], 2);
  EXPECT_TRUE(Accepts(plan));
}

TEST(CertifyTest, WideMasksAcrossTiles) {
  const Shape shape{6, 8256};  // More than two tiles, and 8256 = 129 * 64.
  for (const Mask& mask :
       {Mask::Local(shape, 9, 4090) & Mask::Stride(shape, 3), Mask::Prefix(shape, 4097),
        Mask::KvRange(shape, 4095, 4096) | Mask::KvRange(shape, 8190, 8193)}) {
    for (BlockShape block : {BlockShape{2, 129}, BlockShape{3, 8256}, BlockShape{1, 48}}) {
      const Certificate certificate =
          Certify(NaivePlan(MultiHeadMask(mask, 1), AllPasses(block, block)));
      EXPECT_FALSE(certificate.mismatch) << certificate.mismatch->ToString();
      ASSERT_EQ(certificate.empty.size(), 1u);
      EXPECT_EQ(certificate.empty[0].rows, EmptyRanges());
      EXPECT_EQ(certificate.empty[0].columns, NaiveEmptyLines(mask).columns);
    }
  }
}

TEST(CertifyTest, PassesMayBeAbsent) {
  const MultiHeadMask mask(~Mask::Causal({32, 32}), 1);
  const Plan all = NaivePlan(mask, AllPasses({8, 8}, {8, 8}));
  for (int kept = 0; kept < 8; ++kept) {
    Plan plan = all;
    for (Pass pass : kAllPasses) {
      if ((kept >> static_cast<int>(pass) & 1) == 0) plan.pass(pass).reset();
    }
    EXPECT_TRUE(Accepts(plan)) << kept;
  }
  const Certificate nothing = Certify(Plan{mask, {}, {}, {}, {}});
  EXPECT_FALSE(nothing.mismatch);
  EXPECT_EQ(nothing.cells, 0);
  EXPECT_TRUE(nothing.empty.empty());
}

TEST(CertifyTest, SimplifiedPlansAreThoseOfTheMasks) {
  const Shape shape{32, 32};
  const Mask causal = Mask::Causal(shape);
  PlanOptions simplify;
  simplify.simplify = true;
  // Heads that mean one mask share tables; the kernel computes it.
  const MultiHeadMask mask({causal & Mask::Local(shape, 99, std::nullopt), causal,
                            ~Mask::Local(shape, -1, std::nullopt), causal - Mask::Empty(shape)});
  Plan plan = NaivePlan(mask, AllPasses({8, 8}, {8, 8}, simplify));
  EXPECT_TRUE(Accepts(plan));
  EXPECT_EQ(plan.fwd->info.block_mask->shape(), (std::array<int64_t, 3>{1, 4, 4}));
  EXPECT_EQ(plan.fwd->mask_function, causal);
  EXPECT_EQ(Certify(plan).cells, 4 * 32 * 32) << "the tables' and those of three that changed";

  plan.fwd->mask_function = Mask::Causal(shape, 1);
  EXPECT_EQ(Verify(plan)->ToString(),
            "fwd mask_function: expected causal() of shape (32, 32), got causal(1) of shape (32, "
            "32)");
  plan.fwd->mask_function = mask.masks()[0];
  EXPECT_EQ(Verify(plan)->table, "mask_function") << "the function is the simplified one";
  Plan other = NaivePlan(mask, AllPasses({8, 8}, {8, 8}));
  other.options.simplify = true;
  EXPECT_TRUE(Verify(other)) << "tables of each head";
}

TEST(CertifyTest, SimplifyingIsNotBelieved) {
  const Shape shape{600, 5000};
  const Mask causal = Mask::Causal(shape), prefix = Mask::Prefix(shape, 4500);
  const auto check = [&](const std::vector<Mask>& masks, const std::vector<Mask>& simple) {
    const Progress silent;
    certify::RowProgress progress(silent, 1);
    return certify::SimplifyCheck(MultiHeadMask(masks), MultiHeadMask(simple)).Run(progress);
  };
  const Mask twice = causal & causal;
  EXPECT_FALSE(check({causal, twice, prefix}, {causal, causal, prefix}));
  // One cell too few: the last that anybody sees.
  const Mask short_of_one =
      prefix - (Mask::QRange(shape, 599, 600) & Mask::KvRange(shape, 4499, 4500));
  EXPECT_EQ(check({causal, twice, prefix}, {causal, causal, short_of_one})->ToString(),
            "fwd simplify: expected 1, got 0 (at head 2, q 599, kv 4499)");
  // The first of many, whatever thread meets one first.
  EXPECT_EQ(check({twice, prefix}, {Mask::Causal(shape, 1), prefix})->ToString(),
            "fwd simplify: expected 0, got 1 (at head 0, q 0, kv 1)");
}

TEST(CertifyTest, WhereJaxFails) {
  const Shape shape{32, 32};
  PlanOptions sharded;
  sharded.q_seq_shards = 4;
  // No partial block: no mask_next. A q shard, or everything, empty: zeros, one line at least.
  for (const Mask& mask : {Mask::Full(shape), Mask::QRange(shape, 8, 16), Mask::Empty(shape),
                           Mask::Causal(shape, -20), Mask::Local(shape, 1, 1, 1000)}) {
    EXPECT_TRUE(Accepts(NaivePlan(MultiHeadMask(mask, 2), AllPasses({8, 8}, {8, 8}, sharded))));
    EXPECT_TRUE(Accepts(NaivePlan(MultiHeadMask(mask, 2), AllPasses({8, 8}, {8, 8}))));
  }
  const Plan empty =
      NaivePlan(MultiHeadMask(Mask::Empty(shape), 1), AllPasses({8, 8}, {8, 8}, sharded));
  EXPECT_EQ(empty.fwd->info.block_mask->shape(), (std::array<int64_t, 3>{1, 4, 1}));
  EXPECT_EQ(empty.dkv->info.block_mask->shape(), (std::array<int64_t, 3>{1, 4, 4}));
  EXPECT_FALSE(empty.fwd->info.mask_next);
}

TEST(CertifyTest, FusedBackwardKeepsDkvWhole) {
  PlanOptions fused;
  fused.use_fused_bwd_kernel = true;
  const MultiHeadMask mask(Mask::Local({32, 32}, 8, 0), 1);
  Plan plan = NaivePlan(mask, AllPasses({8, 8}, {8, 8}, fused));
  EXPECT_TRUE(Accepts(plan));
  plan.dkv = NaivePass(mask, {8, 8}, true, fused, true);
  const Certificate certificate = Certify(plan);
  ASSERT_TRUE(certificate.mismatch);
  EXPECT_EQ(certificate.mismatch->ToString(),
            "dkv block_mask: expected int8[1, 4, 4], got int8[1, 2, 4]");
}

TEST(CertifyTest, ReportsEmptyRowsAndColumns) {
  const Shape shape{100, 130};
  const Mask holes = Mask::Causal(shape) - Mask::QRange(shape, 10, 20) -
                     Mask::QRange(shape, 30, 31) - Mask::KvRange(shape, 64, 70);
  const MultiHeadMask mask({Mask::Full(shape), holes, holes, Mask::Documents(shape, {40, 20})});
  const Certificate certificate = Certify(NaivePlan(mask, AllPasses({20, 26}, {20, 26})));
  ASSERT_FALSE(certificate.mismatch);
  ASSERT_EQ(certificate.empty.size(), 2u);
  EXPECT_EQ(certificate.empty[0].head, 1);
  EXPECT_EQ(certificate.empty[0].rows, (EmptyRanges{{10, 20}, {30, 31}}));
  EXPECT_EQ(certificate.empty[0].columns, (EmptyRanges{{64, 70}, {100, 130}}));
  EXPECT_EQ(certificate.empty[1].head, 3);
  EXPECT_EQ(certificate.empty[1].rows, (EmptyRanges{{60, 100}}));
  EXPECT_EQ(certificate.empty[1].columns, (EmptyRanges{{60, 130}}));
}

TEST(CertifyTest, ReportsEmptyLinesOfRandomMasks) {
  for (uint64_t seed = 0; seed < SampleSize(150); ++seed) {
    RandomCase random_case = MakeRandomCase(seed);
    random_case.mask = MultiHeadMask({random_case.mask.masks().front()});
    random_case.options.plan.head_shards = 1;
    const EmptyLines expected = NaiveEmptyLines(random_case.mask.masks().front());
    const Certificate certificate = Certify(NaivePlan(random_case.mask, random_case.options));
    if (expected.rows.empty() && expected.columns.empty()) {
      EXPECT_TRUE(certificate.empty.empty()) << seed;
    } else {
      ASSERT_EQ(certificate.empty.size(), 1u) << seed;
      EXPECT_EQ(certificate.empty[0].rows, expected.rows) << seed;
      EXPECT_EQ(certificate.empty[0].columns, expected.columns) << seed;
    }
  }
}

TEST(CertifyTest, ThreadsDoNotChangeTheFirstMismatch) {
  const Shape shape{96, 128};
  const MultiHeadMask mask({~Mask::Causal(shape), Mask::Stride(shape, 5), Mask::Causal(shape)});
  Plan plan = NaivePlan(mask, AllPasses({8, 8}, {8, 8}));
  PartialMaskBlocks& blocks = *plan.dq->info.partial_mask_blocks;
  for (int64_t block = 1; block < blocks.count(); ++block) blocks.Flip(block, 3, 5);
  std::string first;
  for (int threads : {1, 2, 3, 8}) {
    for (int repeat = 0; repeat < 5; ++repeat) {
      const Certificate certificate = Certify(plan, {.threads = threads});
      ASSERT_TRUE(certificate.mismatch);
      if (first.empty()) first = certificate.mismatch->ToString();
      EXPECT_EQ(certificate.mismatch->ToString(), first);
    }
  }
  EXPECT_TRUE(first.starts_with("dq partial_mask_blocks[1, 3, 5]: expected ")) << first;
}

TEST(CertifyTest, DescribesAMismatchInOneLine) {
  Mismatch mismatch;
  mismatch.pass = Pass::kDkv;
  mismatch.table = "block_mask";
  mismatch.index = {0, 3, 4};
  mismatch.head = 2;
  mismatch.q = 1536;
  mismatch.kv = 2048;
  mismatch.expected = "2";
  mismatch.got = "1";
  EXPECT_EQ(mismatch.ToString(),
            "dkv block_mask[0, 3, 4]: expected 2, got 1 (at head 2, q 1536, kv 2048)");
  Mismatch whole;
  whole.table = "mask_next";
  whole.expected = "int8[1, 8, 8]";
  whole.got = "None";
  EXPECT_EQ(whole.ToString(), "fwd mask_next: expected int8[1, 8, 8], got None");
}

TEST(CertifyTest, ReportsProgressInOrder) {
  const Plan plan =
      NaivePlan(MultiHeadMask(~Mask::Causal({256, 256}), 1), AllPasses({4, 32}, {4, 32}));
  std::vector<double> shares;
  CertifyOptions options;
  options.progress.report = [&](double share) { shares.push_back(share); };
  EXPECT_FALSE(Certify(plan, options).mismatch);
  ASSERT_FALSE(shares.empty());
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_GE(shares.front(), 0);
  EXPECT_EQ(shares.back(), 1);
}

TEST(CertifyTest, StopsWhenAsked) {
  const Plan plan =
      NaivePlan(MultiHeadMask(~Mask::Causal({256, 256}), 1), AllPasses({4, 32}, {4, 32}));
  std::atomic<bool> stop = false;
  CertifyOptions options;
  options.progress.stop = &stop;
  options.progress.report = [&](double share) { stop = share > 0.2; };
  ExpectError(ErrorCode::kCancelled, "[progress] stopped at the caller's request",
              [&] { Certify(plan, options); });
}

TEST(CertifyTest, RefusesOptionsThatCannotBelongToTheMask) {
  const Plan good = NaivePlan(MultiHeadMask(Mask::Causal({64, 32}), 4), AllPasses({8, 8}, {8, 8}));
  auto expect_refused = [](const Plan& plan, const std::string& message) {
    ExpectError(ErrorCode::kInvalidArgument, message, [&] { Certify(plan); });
  };
  ASSERT_NO_THROW(Certify(good));
  Plan plan = good;
  plan.options.head_shards = 3;
  expect_refused(plan,
                 "[certify] expected head_shards of at least 1 that divides the number of heads "
                 "(4), got 3");
  plan = good;
  plan.options.q_seq_shards = 0;
  expect_refused(plan,
                 "[certify] expected q_seq_shards of at least 1 that divides q_len (64), got 0");
  plan = good;
  plan.dq->block.q = 5;
  expect_refused(plan,
                 "[certify] expected dq block_q of at least 1 that divides the q positions of a "
                 "shard (64), got 5");
  plan = good;
  plan.dkv->block.kv = -8;
  expect_refused(plan,
                 "[certify] expected dkv block_kv of at least 1 that divides kv_len (32), "
                 "got -8");
  plan = good;
  plan.options.use_fused_bwd_kernel = true;
  expect_refused(plan, "[certify] expected no dq pass with use_fused_bwd_kernel, got one");
}

TEST(CertifyTest, RefusesGridsBeyondMemory) {
  const int64_t length = int64_t{1} << 22;
  Plan plan{MultiHeadMask(Mask::Full({length, length}), 1), {}, {}, {}, {}};
  plan.fwd.emplace().block = {1, 1};
  // A class, an id, a slot, a visit, a next value and an entry for each of 2^44 blocks.
  ExpectError(
      ErrorCode::kTooLarge,
      "[certify] expected tables that fit in memory, got 4194304 x 4194304 blocks, which take "
      "369435974041600 bytes to prove; use larger blocks",
      [&] { Certify(plan); });
}

}  // namespace
}  // namespace splashmask
