// SPDX-License-Identifier: Apache-2.0
// Plans in tokamax's dialect: right ones are accepted, and every single alteration is found at its
// place.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/simplify.h"
#include "tests/planner/certify_support.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"
#include "tests/support/naive_tokamax.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

struct NamedList {
  const char* name;
  std::optional<Array> TokamaxMaskInfo::*field;
};
constexpr NamedList kLists[] = {{"q_sequence", &TokamaxMaskInfo::q_sequence},
                                {"block_mask", &TokamaxMaskInfo::block_mask},
                                {"active_rows", &TokamaxMaskInfo::active_rows},
                                {"active_cols", &TokamaxMaskInfo::active_cols},
                                {"num_active_blocks", &TokamaxMaskInfo::num_active_blocks},
                                {"mask_next", &TokamaxMaskInfo::mask_next}};

// Both passes by the reference.
Plan NaiveTokamaxPlan(const Mask& mask, const TokamaxOptions& fwd, const TokamaxOptions& dkv) {
  Plan plan{MultiHeadMask(mask, 2), {}, {}, {}, {}};
  plan.tokamax_fwd = NaiveTokamax(mask, fwd);
  plan.tokamax_dkv = NaiveTokamax(mask, dkv);
  return plan;
}

TokamaxOptions Options(BlockShape block, bool is_dkv, int64_t q_seq_shards = 1,
                       int64_t kv_seq_shards = 1) {
  TokamaxOptions options;
  options.block = block;
  options.is_dkv = is_dkv;
  options.q_seq_shards = q_seq_shards;
  options.kv_seq_shards = kv_seq_shards;
  return options;
}

std::vector<Plan> RandomPlans(uint64_t count) {
  std::vector<Plan> plans;
  std::mt19937_64 random(20);
  const auto options = [&](bool is_dkv) {
    TokamaxOptions drawn = Options({random() % 2 ? 2 : 4, random() % 2 ? 3 : 6}, is_dkv,
                                   random() % 2 ? 1 : 3, random() % 2 ? 1 : 2);
    drawn.downcast_smem_data = random() % 3 != 0;
    drawn.return_dynamic_grid = random() % 3 != 0;
    drawn.simplify = random() % 4 == 0;
    return drawn;
  };
  for (uint64_t i = 0; i < count; ++i) {
    const Mask mask = RandomMask(random, {12, 24}, static_cast<int>(random() % 4));
    plans.push_back(NaiveTokamaxPlan(mask, options(false), options(true)));
  }
  return plans;
}

TEST(CertifyTokamaxTest, AcceptsRandomPlans) {
  int64_t entries = 0;
  for (const Plan& plan : RandomPlans(SampleSize(1000))) {
    const Certificate certificate = Certify(plan, {.threads = 1});
    ASSERT_FALSE(certificate.mismatch)
        << ToString(plan.mask) << ": " << certificate.mismatch->ToString();
    entries += certificate.entries;
    const bool simplifies =
        plan.tokamax_fwd->options.simplify || plan.tokamax_dkv->options.simplify;
    const Mask& mask = plan.mask.masks().front();
    const int block_shapes =
        plan.tokamax_fwd->options.block == plan.tokamax_dkv->options.block ? 1 : 2;
    const int simplified = simplifies && !(Simplify(mask) == mask) ? 1 : 0;
    EXPECT_EQ(certificate.cells, 12 * 24 * (block_shapes + simplified));
  }
  EXPECT_GT(entries, 10 * SampleSize(1000));
}

TEST(CertifyTokamaxTest, BothDialectsInOnePlan) {
  const Mask mask = Mask::Causal({24, 20}) & Mask::Stride({24, 20}, 3);
  Plan plan = NaivePlan(MultiHeadMask(mask, 2), AllPasses({4, 5}, {2, 10}));
  plan.tokamax_fwd = NaiveTokamax(mask, Options({4, 5}, false));
  plan.tokamax_dkv = NaiveTokamax(mask, Options({4, 5}, true, 2, 2));
  EXPECT_FALSE(Verify(plan)) << Verify(plan)->ToString();
  // The kernel of JAX may compute what tokamax's does not.
  CompileOptions simplified = AllPasses({4, 5}, {2, 10});
  simplified.plan.simplify = true;
  Plan mixed = NaivePlan(MultiHeadMask(mask, 2), simplified);
  mixed.tokamax_fwd = plan.tokamax_fwd;
  EXPECT_TRUE(mixed.fwd->mask_function);
  EXPECT_FALSE(Verify(mixed)) << Verify(mixed)->ToString();
}

TEST(CertifyTokamaxTest, EmptyLinesAreReported) {
  const Mask mask = Mask::QRange({12, 24}, 3, 5);
  const Plan plan = NaiveTokamaxPlan(mask, Options({4, 6}, false), Options({4, 6}, true));
  const Certificate certificate = Certify(plan, {.threads = 1});
  ASSERT_EQ(1, std::ssize(certificate.empty));
  EXPECT_EQ((EmptyRanges{{0, 3}, {5, 12}}), certificate.empty[0].rows);
}

TEST(CertifyTokamaxTest, StopsWhenToldAndTellsHowFar) {
  const Mask mask = Mask::Causal({48, 48});
  TokamaxOptions options = Options({1, 1}, false);
  options.return_dynamic_grid = false;
  Plan plan{MultiHeadMask(mask, 1), {}, {}, {}, {}};
  plan.tokamax_fwd = NaiveTokamax(mask, options);
  std::atomic<bool> stop = false;
  double told = 0;
  CertifyOptions certify{.threads = 1, .progress = {}};
  certify.progress.stop = &stop;
  certify.progress.report = [&](double done) {
    EXPECT_GE(done, told);
    told = done;
    if (done > 0.75) stop = true;  // Cells are half of the rows; then come the lists.
  };
  EXPECT_THROW(Certify(plan, certify), Error);
  EXPECT_LT(told, 1);
}

// ---- Alterations.

std::vector<Plan> TokamaxPlansToAlter() {
  const Shape shape{12, 24};
  const Mask triangle = ~Mask::Causal(shape, -3);
  const Mask late = Mask::Causal(shape, 5) & Mask::QRange(shape, 5, 12);
  std::vector<Plan> plans = RandomPlans(SampleSize(64));
  for (const Mask& mask : {triangle, late, Mask::Causal(shape, 2), Mask::Stride(shape, 5),
                           Mask::Local(shape, 9, 1).Reorder(Positions::Zigzag(3))}) {
    plans.push_back(NaiveTokamaxPlan(mask, Options({4, 6}, false), Options({2, 8}, true)));
    plans.push_back(
        NaiveTokamaxPlan(mask, Options({2, 4}, false, 3, 2), Options({2, 4}, true, 2, 3)));
  }
  return plans;
}

Array WithEntry(const Array& array, int64_t index, int64_t value) {
  auto bytes =
      std::make_shared<std::vector<std::byte>>(array.data(), array.data() + array.size_bytes());
  const int64_t size = DTypeSize(array.dtype());
  std::memcpy(bytes->data() + index * size, &value, static_cast<size_t>(size));
  return Array(array.dtype(), array.shape(), std::shared_ptr<const void>(bytes, bytes->data()));
}

TEST(CertifyTokamaxTest, EveryListEntry) {
  int64_t tried = 0, padding = 0;
  std::set<std::string> names;
  for (Plan& plan : TokamaxPlansToAlter()) {
    for (Pass pass : kTokamaxPasses) {
      for (const NamedList& named : kLists) {
        std::optional<Array>& list = plan.tokamax_pass(pass)->info.*named.field;
        if (!list) continue;
        const Array original = *list;
        for (int64_t i = 0; i < original.size(); ++i) {
          const int64_t right = original.At(i);
          // Beside it, and what means something: nothing there, the first, an empty block.
          std::set<int64_t> wrong{right == 127 ? 1 : right + 1, 0, -1};
          wrong.erase(right);
          if (original.dtype() != DType::kInt8 && named.field == &TokamaxMaskInfo::q_sequence) {
            wrong = {right ^ 1};
          }
          for (int64_t value : wrong) {
            list = WithEntry(original, i, value);
            const std::optional<Mismatch> mismatch = Verify(plan);
            ASSERT_TRUE(mismatch) << named.name << " " << i << " = " << value;
            const std::string text = mismatch->ToString();
            ASSERT_TRUE(mismatch->is_tokamax && mismatch->pass == pass) << text;
            ASSERT_EQ(named.name, mismatch->table) << text;
            ASSERT_EQ(std::vector<int64_t>{i}, mismatch->index) << text;
            ASSERT_EQ(std::to_string(right), mismatch->expected) << text;
            ASSERT_EQ(std::to_string(value), mismatch->got) << text;
            if (mismatch->table == "block_mask" && right >= 0) {
              const bool cell = NaiveAt(plan.mask.masks()[0], *mismatch->q, *mismatch->kv);
              ASSERT_TRUE(value != 0 || cell) << text;
              ASSERT_TRUE(value != 2 || !cell) << text;
            }
            ++tried;
            padding += right == -1;
          }
        }
        names.insert(named.name);
        list = original;
      }
    }
    ASSERT_FALSE(Verify(plan));
  }
  EXPECT_EQ(std::size(kLists), names.size());
  EXPECT_GT(tried, SampleSize(4000));
  EXPECT_GT(padding, SampleSize(200));
}

TEST(CertifyTokamaxTest, EveryPartialBit) {
  uint64_t tried = 0;
  for (Plan& plan : TokamaxPlansToAlter()) {
    for (Pass pass : kTokamaxPasses) {
      std::optional<PartialMaskBlocks>& blocks = plan.tokamax_pass(pass)->info.partial_mask_blocks;
      if (!blocks) continue;
      const PartialMaskBlocks original = *blocks;
      blocks = original.Clone();
      for (int64_t id = 0; id < original.count(); ++id) {
        for (int64_t row = 0; row < original.rows(); ++row) {
          for (int64_t column = 0; column < original.row_bytes() * 8; ++column) {
            blocks->Flip(id, row, column);
            const std::optional<Mismatch> mismatch = Verify(plan);
            ASSERT_TRUE(mismatch);
            ASSERT_TRUE(mismatch->is_tokamax && mismatch->pass == pass) << mismatch->ToString();
            ASSERT_EQ("partial_mask_blocks", mismatch->table);
            ASSERT_EQ((std::vector<int64_t>{id, row, column}), mismatch->index);
            if (mismatch->q) {
              ASSERT_EQ(mismatch->expected == "True",
                        NaiveAt(plan.mask.masks()[0], *mismatch->q, *mismatch->kv));
            }
            blocks->Flip(id, row, column);
            ++tried;
          }
        }
      }
      blocks = original;
    }
  }
  EXPECT_GT(tried, SampleSize(4000));
}

// ---- Whole fields, and what is no plan.

class CertifyTokamaxFieldTest : public testing::Test {
 protected:
  // The mismatch after a change of the fwd pass.
  std::string Find(const Mask& mask, const std::function<void(TokamaxPass&)>& change) {
    Plan plan = NaiveTokamaxPlan(mask, Options({4, 6}, false), Options({4, 6}, true));
    EXPECT_FALSE(Verify(plan));
    change(*plan.tokamax_fwd);
    const std::optional<Mismatch> mismatch = Verify(plan);
    return mismatch ? mismatch->ToString() : "";
  }

  const Shape shape_{12, 24};
  const Mask partial_ = Mask::Causal(shape_) & Mask::Stride(shape_, 2);
  const Mask computed_ = Mask::Causal(shape_);
  const Mask full_ = Mask::Full(shape_);
  const Array extra_ = Array::FromVector(std::vector<int32_t>{0, 1});
};

TEST_F(CertifyTokamaxFieldTest, AbsentFields) {
  EXPECT_EQ("tokamax/fwd mask_next: expected int8[5], got None",
            Find(partial_, [](TokamaxPass& pass) { pass.info.mask_next.reset(); }));
  EXPECT_EQ("tokamax/fwd active_rows: expected int8[5], got None",
            Find(partial_, [](TokamaxPass& pass) { pass.info.active_rows.reset(); }));
  EXPECT_EQ("tokamax/fwd active_cols: expected int8[5], got None",
            Find(partial_, [](TokamaxPass& pass) { pass.info.active_cols.reset(); }));
  EXPECT_EQ("tokamax/fwd block_mask: expected int8[5], got None",
            Find(partial_, [](TokamaxPass& pass) { pass.info.block_mask.reset(); }));
  EXPECT_EQ("tokamax/fwd num_active_blocks: expected int32[1], got None",
            Find(partial_, [](TokamaxPass& pass) { pass.info.num_active_blocks.reset(); }));
  EXPECT_EQ("tokamax/fwd partial_mask_blocks: expected bool[*, 4, 6], got None",
            Find(partial_, [](TokamaxPass& pass) { pass.info.partial_mask_blocks.reset(); }));
  EXPECT_EQ("tokamax/fwd q_sequence: expected int32[12], got None",
            Find(computed_, [](TokamaxPass& pass) { pass.info.q_sequence.reset(); }));
  EXPECT_EQ("tokamax/fwd mask_function: expected causal() of shape (12, 24), got None",
            Find(computed_, [](TokamaxPass& pass) { pass.mask_function.reset(); }));
}

TEST_F(CertifyTokamaxFieldTest, FieldsThatShouldBeAbsent) {
  for (const NamedList& named : kLists) {
    if (named.field == &TokamaxMaskInfo::q_sequence) continue;
    EXPECT_EQ(std::string("tokamax/fwd ") + named.name + ": expected None, got int32[2]",
              Find(full_, [&](TokamaxPass& pass) { pass.info.*named.field = extra_; }));
  }
  EXPECT_EQ("tokamax/fwd q_sequence: expected None, got int32[2]",
            Find(partial_, [&](TokamaxPass& pass) { pass.info.q_sequence = extra_; }));
  EXPECT_EQ("tokamax/fwd mask_next: expected None, got int32[2]",
            Find(computed_, [&](TokamaxPass& pass) { pass.info.mask_next = extra_; }));
  EXPECT_EQ("tokamax/fwd mask_function: expected None, got causal() of shape (12, 24)",
            Find(partial_, [&](TokamaxPass& pass) { pass.mask_function = computed_; }));
  // A mask that is visible everywhere keeps its positions and loses its function.
  const Mask everywhere = Mask::Causal(shape_, 100);
  EXPECT_EQ("tokamax/fwd mask_function: expected None, got causal(100) of shape (12, 24)",
            Find(everywhere, [&](TokamaxPass& pass) { pass.mask_function = everywhere; }));
  EXPECT_EQ("tokamax/fwd num_active_blocks: expected None, got int32[2]",
            Find(partial_, [&](TokamaxPass& pass) {
              TokamaxOptions options = Options({4, 6}, false);
              options.return_dynamic_grid = false;
              pass = NaiveTokamax(partial_, options);
              pass.info.num_active_blocks = extra_;
            }));
}

TEST_F(CertifyTokamaxFieldTest, DTypesShapesAndOptions) {
  EXPECT_EQ("tokamax/fwd block_mask: expected int32[5], got int8[5]",
            Find(partial_, [](TokamaxPass& pass) { pass.options.downcast_smem_data = false; }));
  EXPECT_EQ("tokamax/fwd block_mask: expected int8[12], got int8[5]",
            Find(partial_, [](TokamaxPass& pass) { pass.options.return_dynamic_grid = false; }));
  EXPECT_EQ("tokamax/fwd block_mask: expected int8[6], got int8[5]",
            Find(partial_, [](TokamaxPass& pass) { pass.options.q_seq_shards = 3; }));
  EXPECT_EQ("tokamax/fwd num_active_blocks: expected int32[1], got int32[2]",
            Find(partial_, [&](TokamaxPass& pass) { pass.info.num_active_blocks = extra_; }));
}

TEST_F(CertifyTokamaxFieldTest, WhatIsNoPlanOfThisMask) {
  Plan plan = NaiveTokamaxPlan(partial_, Options({4, 6}, false), Options({4, 6}, true));
  const auto expect = [&](const std::string& text, const std::function<void(Plan&)>& change) {
    Plan changed = plan;
    change(changed);
    ExpectError(ErrorCode::kInvalidArgument, "[certify] expected " + text,
                [&] { Certify(changed, {.threads = 1}); });
  };
  expect("one mask for all heads beside tokamax lists, got several", [&](Plan& p) {
    p.mask = MultiHeadMask({partial_, computed_});
  });
  expect("tokamax/fwd q_seq_shards of at least 1 that divides q_len (12), got 5",
         [](Plan& p) { p.tokamax_fwd->options.q_seq_shards = 5; });
  expect("tokamax/dkv kv_seq_shards of at least 1 that divides kv_len (24), got 0",
         [](Plan& p) { p.tokamax_dkv->options.kv_seq_shards = 0; });
  expect("tokamax/fwd block_q of at least 1 that divides the q positions of a shard (12), got 5",
         [](Plan& p) { p.tokamax_fwd->options.block.q = 5; });
  expect("tokamax/dkv block_kv of at least 1 that divides the kv positions of a shard (24), got 7",
         [](Plan& p) { p.tokamax_dkv->options.block.kv = 7; });
}

}  // namespace
}  // namespace splashmask
