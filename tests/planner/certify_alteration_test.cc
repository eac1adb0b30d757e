// SPDX-License-Identifier: Apache-2.0
// Single alterations of right plans: the certifier has to find every one and name its place.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/planner/certify_support.h"
#include "tests/support/naive_mask.h"
#include "tests/support/naive_tables.h"
#include "tests/support/random_case.h"

namespace splashmask {
namespace {

// A few masks whose tables have every kind of entry, and random ones.
std::vector<Plan> PlansToAlter() {
  const Shape shape{24, 20};
  PlanOptions sharded;
  sharded.q_seq_shards = 3;
  sharded.head_shards = 2;
  PlanOptions wide = sharded;
  wide.shrink_grid = wide.downcast_smem_data = false;
  const Mask triangle = ~Mask::Causal(shape, -3);
  const Mask late = Mask::Causal(shape, 5) & Mask::QRange(shape, 10, 24);
  std::vector<Plan> plans;
  for (const PlanOptions& options : {PlanOptions{}, sharded, wide}) {
    const CompileOptions compile = AllPasses({4, 5}, {2, 10}, options);
    plans.push_back(NaivePlan(MultiHeadMask(triangle, 2), compile));
    plans.push_back(NaivePlan(MultiHeadMask(late, 2), compile));
    plans.push_back(NaivePlan(MultiHeadMask({triangle, late, late, triangle}), compile));
    plans.push_back(NaivePlan(MultiHeadMask(Mask::Causal(shape, 2), 2), compile));
    plans.push_back(NaivePlan(
        MultiHeadMask(Mask::Local(shape, 9, 1).Reorder(Positions::Zigzag(3)), 2), compile));
  }
  // Block columns that are and are not a multiple of eight; passes that share a block shape.
  plans.push_back(
      NaivePlan(MultiHeadMask(Mask::Stride(shape, 7), 1), AllPasses({12, 10}, {12, 10})));
  plans.push_back(NaivePlan(MultiHeadMask(triangle, 1), AllPasses({1, 4}, {1, 4})));
  for (uint64_t seed = 0; plans.size() < 40; ++seed) {
    const RandomCase random_case = MakeRandomCase(seed);
    const Shape random_shape = random_case.mask.shape();
    if (random_shape.q_len * random_shape.kv_len > 1000) continue;
    plans.push_back(NaivePlan(random_case.mask, random_case.options));
  }
  return plans;
}

// Counts what was tried and what was found, so that a test ends by asserting every single one.
struct Tally {
  int64_t tried = 0, found = 0;

  void Finish(const char* what) const {
    std::printf("%s: %lld alterations, %lld found at their place\n", what,
                static_cast<long long>(tried), static_cast<long long>(found));
    EXPECT_GT(tried, 2000) << what;
    EXPECT_EQ(found, tried) << what;
  }
};

// Whether the position that a wrong block_mask entry names contradicts the entry.
bool PositionShowsClass(const Plan& plan, const Mismatch& mismatch) {
  if (!mismatch.head) return mismatch.expected == "0";  // Padding.
  const Mask& mask = plan.mask.masks()[static_cast<size_t>(*mismatch.head)];
  const bool cell = NaiveAt(mask, *mismatch.q, *mismatch.kv);
  if (mismatch.got == "0") return cell;
  if (mismatch.got == "2") return !cell;
  return mismatch.got != "1" || cell == (mismatch.expected == "2");
}

void AlterTable(Plan& plan, Pass pass, const NamedTable& named, Tally* tally) {
  std::optional<Table>& table = plan.pass(pass)->info.*named.field;
  if (!table) return;
  const Table original = *table;
  table = original.Clone();
  const int32_t largest = original.dtype() == DType::kInt8    ? std::numeric_limits<int8_t>::max()
                          : original.dtype() == DType::kInt16 ? std::numeric_limits<int16_t>::max()
                                                              : std::numeric_limits<int32_t>::max();
  const auto [heads, rows, columns] = original.shape();
  for (int64_t i = 0; i < original.size(); ++i) {
    const int32_t right = original.At(i);
    std::set<int32_t> wrong{right == largest ? 1 : right + 1, 0};
    wrong.erase(right);
    for (int32_t value : wrong) {
      table->Set(i, value);
      ++tally->tried;
      const std::optional<Mismatch> mismatch = Verify(plan);
      ASSERT_TRUE(mismatch) << named.name << " " << i << " = " << value;
      const std::vector<int64_t> index{i / (rows * columns), i / columns % rows, i % columns};
      const bool found = mismatch->pass == pass && mismatch->table == named.name &&
                         mismatch->index == index && mismatch->expected == std::to_string(right) &&
                         mismatch->got == std::to_string(value) &&
                         (mismatch->table != "block_mask" || PositionShowsClass(plan, *mismatch));
      ASSERT_TRUE(found) << mismatch->ToString();
      ++tally->found;
    }
    table->Set(i, right);
  }
  table = original;
}

TEST(CertifyAlterationTest, EveryTableEntry) {
  Tally tally;
  for (Plan& plan : PlansToAlter()) {
    ASSERT_FALSE(Verify(plan)) << Verify(plan)->ToString();
    for (Pass pass : kAllPasses) {
      if (!plan.pass(pass)) continue;
      for (const NamedTable& table : kTables) {
        ASSERT_NO_FATAL_FAILURE(AlterTable(plan, pass, table, &tally));
      }
    }
  }
  tally.Finish("table entries");
}

// The cell (q, kv) of the first block, by distinct mask, q block and kv block, that stored block
// `id` stands for, at the block's (row, column).
std::array<int64_t, 3> FirstCell(const Plan& plan, Pass pass, const PartialMaskBlocks& stored,
                                 int64_t id, int64_t row, int64_t column) {
  const BlockShape block = plan.pass(pass)->block;
  const bool is_dkv = pass == Pass::kDkv;
  const Shape shape = plan.mask.shape();
  // Repeats of a mask come later and show nothing new.
  for (int64_t head = 0; head < plan.mask.num_heads(); ++head) {
    const Mask& mask = plan.mask.masks()[static_cast<size_t>(head)];
    for (int64_t q0 = 0; q0 < shape.q_len; q0 += block.q) {
      for (int64_t kv0 = 0; kv0 < shape.kv_len; kv0 += block.kv) {
        bool equal = true;
        for (int64_t r = 0; equal && r < stored.rows(); ++r) {
          for (int64_t c = 0; equal && c < stored.columns(); ++c) {
            equal =
                stored.At(id, r, c) == NaiveAt(mask, q0 + (is_dkv ? c : r), kv0 + (is_dkv ? r : c));
          }
        }
        if (equal) return {head, q0 + (is_dkv ? column : row), kv0 + (is_dkv ? row : column)};
      }
    }
  }
  return {-1, -1, -1};
}

void AlterBits(Plan& plan, Pass pass, Tally* tally, int64_t* pad_bits) {
  std::optional<PartialMaskBlocks>& blocks = plan.pass(pass)->info.partial_mask_blocks;
  if (!blocks) return;
  const PartialMaskBlocks original = *blocks;
  blocks = original.Clone();
  for (int64_t id = 0; id < original.count(); ++id) {
    const auto origin = FirstCell(plan, pass, original, id, 0, 0);
    for (int64_t row = 0; row < original.rows(); ++row) {
      for (int64_t column = 0; column < original.row_bytes() * 8; ++column) {
        const bool is_pad = column >= original.columns();
        blocks->Flip(id, row, column);
        ++tally->tried;
        *pad_bits += is_pad;
        const std::optional<Mismatch> mismatch = Verify(plan);
        ASSERT_TRUE(mismatch) << PassName(pass) << " block " << id << ", " << row << ", " << column;
        bool found = mismatch->pass == pass && mismatch->table == "partial_mask_blocks" &&
                     mismatch->index == std::vector<int64_t>{id, row, column};
        if (is_pad) {
          found &= mismatch->expected == "pad bit 0" && mismatch->got == "1" && !mismatch->q;
        } else {
          const bool right = original.At(id, row, column);
          const bool is_dkv = pass == Pass::kDkv;
          found &= mismatch->expected == (right ? "True" : "False") &&
                   mismatch->got == (right ? "False" : "True") && mismatch->head == origin[0] &&
                   mismatch->q == origin[1] + (is_dkv ? column : row) &&
                   mismatch->kv == origin[2] + (is_dkv ? row : column);
        }
        ASSERT_TRUE(found) << mismatch->ToString();
        ++tally->found;
        blocks->Flip(id, row, column);
      }
    }
  }
  blocks = original;
}

TEST(CertifyAlterationTest, EveryPartialBit) {
  Tally tally;
  int64_t pad_bits = 0;
  for (Plan& plan : PlansToAlter()) {
    for (Pass pass : kAllPasses) {
      if (!plan.pass(pass)) continue;
      ASSERT_NO_FATAL_FAILURE(AlterBits(plan, pass, &tally, &pad_bits));
    }
  }
  EXPECT_GT(pad_bits, 500);
  tally.Finish("partial bits");
}

TEST(CertifyAlterationTest, EveryQPosition) {
  Tally tally;
  for (Plan& plan : PlansToAlter()) {
    for (Pass pass : kAllPasses) {
      if (!plan.pass(pass) || !plan.pass(pass)->info.q_sequence) continue;
      std::optional<Array>& q_sequence = plan.pass(pass)->info.q_sequence;
      const Array original = *q_sequence;
      const std::vector<int64_t> right = original.ToInt64();
      for (size_t row = 0; row < right.size(); ++row) {
        for (int64_t change : {-1, 64}) {
          std::vector<int64_t> positions = right;
          positions[row] = static_cast<int64_t>(static_cast<uint64_t>(positions[row]) + change);
          q_sequence =
              original.dtype() == DType::kInt64
                  ? Array::FromVector(positions)
                  : Array::FromVector(std::vector<int32_t>(positions.begin(), positions.end()));
          ++tally.tried;
          const std::optional<Mismatch> mismatch = Verify(plan);
          ASSERT_TRUE(mismatch);
          const bool found = mismatch->pass == pass && mismatch->table == "q_sequence" &&
                             mismatch->index == std::vector<int64_t>{static_cast<int64_t>(row)} &&
                             mismatch->q == static_cast<int64_t>(row) &&
                             mismatch->expected == std::to_string(right[row]) &&
                             mismatch->got == std::to_string(q_sequence->At(row));
          ASSERT_TRUE(found) << mismatch->ToString();
          ++tally.found;
        }
      }
      q_sequence = original;
    }
  }
  tally.Finish("q positions");
}

}  // namespace
}  // namespace splashmask
