// SPDX-License-Identifier: Apache-2.0
// Plans with a whole field wrong: absent, present, of another dtype, shape, count or order.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "tests/planner/certify_support.h"
#include "tests/support/naive_tables.h"

namespace splashmask {
namespace {

// Each alteration is a plan of its own and the line that describes it.
class CertifyFieldTest : public testing::Test {
 protected:
  void ExpectMismatch(const Plan& plan, const std::string& line) {
    const std::optional<Mismatch> mismatch = Verify(plan);
    ASSERT_TRUE(mismatch) << line;
    EXPECT_EQ(mismatch->ToString(), line);
    EXPECT_TRUE(mismatch->index.empty());
  }

  const Shape shape_{32, 24};
  const Plan stored_ =
      NaivePlan(MultiHeadMask(~Mask::Causal(shape_), 2), AllPasses({8, 6}, {8, 12}));
  const Plan computed_ =
      NaivePlan(MultiHeadMask(Mask::Causal(shape_, 1), 2), AllPasses({8, 6}, {8, 12}));
};

TEST_F(CertifyFieldTest, AbsentFields) {
  Plan plan = stored_;
  plan.fwd->info.block_mask.reset();
  ExpectMismatch(plan, "fwd block_mask: expected int8[1, 4, 4], got None");
  plan = stored_;
  plan.dq->info.data_next.reset();
  ExpectMismatch(plan, "dq data_next: expected int8[1, 4, 4], got None");
  plan = stored_;
  plan.dkv->info.mask_next.reset();
  ExpectMismatch(plan, "dkv mask_next: expected int8[1, 3, 2], got None");
  plan = stored_;
  plan.dkv->info.partial_mask_blocks.reset();
  ExpectMismatch(plan, "dkv partial_mask_blocks: expected bool[*, 12, 8], got None");
  plan = computed_;
  plan.fwd->info.q_sequence.reset();
  ExpectMismatch(plan, "fwd q_sequence: expected int32[32], got None");
  plan = computed_;
  plan.dkv->mask_function.reset();
  ExpectMismatch(plan, "dkv mask_function: expected causal(1) of shape (32, 24), got None");
}

TEST_F(CertifyFieldTest, FieldsThatShouldBeAbsent) {
  Plan plan = stored_;
  plan.fwd->info.q_sequence = computed_.fwd->info.q_sequence;
  ExpectMismatch(plan, "fwd q_sequence: expected None, got int32[32]");
  plan = stored_;
  plan.dq->mask_function = Mask::Causal(shape_);
  ExpectMismatch(plan, "dq mask_function: expected None, got causal() of shape (32, 24)");
  plan = stored_;
  plan.dq->info.is_dynamic_mask = true;
  ExpectMismatch(plan, "dq is_dynamic_mask: expected None, got True");
  plan = computed_;
  plan.fwd->info.mask_next = stored_.fwd->info.mask_next;
  ExpectMismatch(plan, "fwd mask_next: expected None, got int8[1, 4, 4]");
  plan = computed_;
  plan.dkv->info.partial_mask_blocks = PartialMaskBlocks({0}, 12, 8);
  ExpectMismatch(plan, "dkv partial_mask_blocks: expected None, got bool[0, 12, 8]");

  const Plan full = NaivePlan(MultiHeadMask(Mask::Full(shape_), 2), AllPasses({8, 6}, {8, 12}));
  ASSERT_FALSE(Verify(full));
  plan = full;
  plan.fwd->info.mask_next = full.fwd->info.data_next;
  ExpectMismatch(plan, "fwd mask_next: expected None, got int8[1, 4, 4]");
  plan = full;
  plan.fwd->info.partial_mask_blocks = stored_.fwd->info.partial_mask_blocks;
  ExpectMismatch(plan, "fwd partial_mask_blocks: expected None, got bool[6, 8, 6]");
}

TEST_F(CertifyFieldTest, DTypesAndShapes) {
  auto copy = [](const Table& table, DType dtype, std::array<int64_t, 3> shape) {
    Table result(dtype, shape);
    for (int64_t i = 0; i < result.size(); ++i) result.Set(i, i < table.size() ? table.At(i) : 0);
    return result;
  };
  for (const NamedTable& named : kTables) {
    for (Pass pass : kAllPasses) {
      const Table& right = *(stored_.pass(pass)->info.*named.field);
      const auto [heads, rows, columns] = right.shape();
      const std::string expected = std::string(PassName(pass)) + " " + named.name +
                                   (pass == Pass::kDkv ? ": expected int8[1, 3, 2], got "
                                                       : ": expected int8[1, 4, 4], got ");
      Plan plan = stored_;
      plan.pass(pass)->info.*named.field = copy(right, DType::kInt16, right.shape());
      ExpectMismatch(plan, expected + (pass == Pass::kDkv ? "int16[1, 3, 2]" : "int16[1, 4, 4]"));
      plan.pass(pass)->info.*named.field = copy(right, DType::kInt32, right.shape());
      ExpectMismatch(plan, expected + (pass == Pass::kDkv ? "int32[1, 3, 2]" : "int32[1, 4, 4]"));
      plan.pass(pass)->info.*named.field = copy(right, DType::kInt8, {heads, rows + 1, columns});
      ExpectMismatch(plan, expected + (pass == Pass::kDkv ? "int8[1, 4, 2]" : "int8[1, 5, 4]"));
      plan.pass(pass)->info.*named.field = copy(right, DType::kInt8, {heads, rows, columns - 1});
      ExpectMismatch(plan, expected + (pass == Pass::kDkv ? "int8[1, 3, 1]" : "int8[1, 4, 3]"));
      plan.pass(pass)->info.*named.field = copy(right, DType::kInt8, {2, rows, columns});
      ExpectMismatch(plan, expected + (pass == Pass::kDkv ? "int8[2, 3, 2]" : "int8[2, 4, 4]"));
    }
  }
  Plan plan = computed_;
  plan.dq->info.q_sequence = Array::FromVector(computed_.dq->info.q_sequence->ToInt64());
  ExpectMismatch(plan, "dq q_sequence: expected int32[32], got int64[32]");
}

// The stored blocks of one pass, replaced by those that `order` picks.
PartialMaskBlocks Pick(const PartialMaskBlocks& blocks, const std::vector<int64_t>& order) {
  PartialMaskBlocks picked({std::ssize(order)}, blocks.rows(), blocks.columns());
  for (size_t i = 0; i < order.size(); ++i) {
    std::copy_n(blocks.block(order[i]), blocks.block_bytes(),
                picked.data() + static_cast<int64_t>(i) * blocks.block_bytes());
  }
  return picked;
}

TEST_F(CertifyFieldTest, PartialBlocksOfAnotherCountOrShape) {
  const PartialMaskBlocks right = *stored_.fwd->info.partial_mask_blocks;
  ASSERT_EQ(right.count(), 6);
  Plan plan = stored_;
  std::optional<PartialMaskBlocks>& blocks = plan.fwd->info.partial_mask_blocks;
  blocks = PartialMaskBlocks({6}, 6, 8);
  ExpectMismatch(plan, "fwd partial_mask_blocks: expected bool[*, 8, 6], got bool[6, 6, 8]");
  blocks = PartialMaskBlocks({2, 3}, 8, 6);
  ExpectMismatch(plan, "fwd partial_mask_blocks: expected bool[*, 8, 6], got bool[2, 3, 8, 6]");
  blocks = Pick(right, {0, 1, 2, 3, 4, 5, 5});
  ExpectMismatch(plan,
                 "fwd partial_mask_blocks: expected bool[6 or fewer, 8, 6], got bool[7, 8, 6]");
  blocks = Pick(right, {0, 1, 2, 3, 4});
  // ~causal, kv > q, over blocks of 8 x 6: the last partial block begins at (16, 18).
  ExpectMismatch(plan,
                 "fwd partial_mask_blocks: expected bool[6 or more, 8, 6], got bool[5, 8, 6] (at "
                 "head 0, q 16, kv 18)");
  blocks = Pick(right, {});
  ExpectMismatch(plan,
                 "fwd partial_mask_blocks: expected bool[1 or more, 8, 6], got bool[0, 8, 6] (at "
                 "head 0, q 0, kv 0)");

  // dq shares the block shape of fwd, so the count is known.
  plan = stored_;
  plan.dq->info.partial_mask_blocks = Pick(right, {0, 1, 2, 3, 4});
  ExpectMismatch(plan, "dq partial_mask_blocks: expected bool[6, 8, 6], got bool[5, 8, 6]");

  // A stored block that nothing uses, where the mask repeats blocks.
  plan = NaivePlan(MultiHeadMask(~Mask::Causal(shape_), 1), AllPasses({8, 8}, {8, 8}));
  const PartialMaskBlocks one = *plan.fwd->info.partial_mask_blocks;
  ASSERT_EQ(one.count(), 1);
  plan.fwd->info.partial_mask_blocks = Pick(one, {0, 0});
  ExpectMismatch(plan, "fwd partial_mask_blocks: expected bool[1, 8, 8], got bool[2, 8, 8]");
}

TEST_F(CertifyFieldTest, PartialBlocksInAnotherOrder) {
  Plan plan = stored_;
  MaskInfo& info = plan.fwd->info;
  info.partial_mask_blocks = Pick(*info.partial_mask_blocks, {0, 2, 1, 3, 4, 5});
  // Relabelled to match, so that every block still has its own bits.
  info.mask_next = info.mask_next->Clone();
  for (int64_t i = 0; i < info.mask_next->size(); ++i) {
    const int32_t id = info.mask_next->At(i);
    info.mask_next->Set(i, id == 1 ? 2 : id == 2 ? 1 : id);
  }
  const std::optional<Mismatch> mismatch = Verify(plan);
  ASSERT_TRUE(mismatch);
  EXPECT_EQ(mismatch->pass, Pass::kFwd);
  EXPECT_EQ(mismatch->table, "partial_mask_blocks");
  EXPECT_EQ(mismatch->index.front(), 1);
}

TEST_F(CertifyFieldTest, OtherMasksAndOptions) {
  Plan plan = computed_;
  plan.dq->mask_function = Mask::Causal(shape_, 2);
  ExpectMismatch(plan,
                 "dq mask_function: expected causal(1) of shape (32, 24), got causal(2) of shape "
                 "(32, 24)");
  plan = computed_;
  plan.dq->mask_function = Mask::Causal({24, 32}, 1);
  ExpectMismatch(plan,
                 "dq mask_function: expected causal(1) of shape (32, 24), got causal(1) of shape "
                 "(24, 32)");
  plan = computed_;
  plan.options.downcast_smem_data = false;
  ExpectMismatch(plan, "fwd block_mask: expected int32[1, 4, 4], got int8[1, 4, 4]");
  plan = computed_;
  plan.options.head_shards = 2;
  ExpectMismatch(plan, "fwd block_mask: expected int8[2, 4, 4], got int8[1, 4, 4]");
  plan = NaivePlan(MultiHeadMask(Mask::Local(shape_, 6, 0), 2), AllPasses({8, 6}, {8, 12}));
  plan.options.shrink_grid = false;
  ExpectMismatch(plan, "fwd block_mask: expected int8[1, 4, 4], got int8[1, 4, 3]");
  plan = stored_;
  plan.mask = MultiHeadMask({~Mask::Causal(shape_), ~Mask::Causal(shape_, 1)});
  ExpectMismatch(plan, "fwd block_mask: expected int8[2, 4, 4], got int8[1, 4, 4]");
}

}  // namespace
}  // namespace splashmask
