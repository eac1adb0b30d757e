// SPDX-License-Identifier: Apache-2.0
// Tables of packed documents, held to a dense oracle that looks at every pair.
#include "splashmask/planner/compile/packed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_packed.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

using Ids = std::vector<int32_t>;

SegmentIds View(const Ids& ids, int64_t batch) {
  return {ids.data(), batch, std::ssize(ids) / batch};
}

PackedOptions Blocks(BlockShape block) {
  PackedOptions options;
  options.fwd = block;
  return options;
}

std::vector<int32_t> Entries(const Table& table) {
  std::vector<int32_t> entries(static_cast<size_t>(table.size()));
  for (int64_t i = 0; i < table.size(); ++i) entries[i] = table.At(i);
  return entries;
}

void ExpectSame(const PackedTables& expected, const PackedTables& got) {
  for (const auto pass : {&PackedTables::fwd, &PackedTables::dkv}) {
    const std::string name = pass == &PackedTables::fwd ? "fwd" : "dkv";
    EXPECT_EQ((expected.*pass).block, (got.*pass).block) << name;
    for (const auto table : {&PackedPass::data_next, &PackedPass::block_mask}) {
      const Table& a = expected.*pass.*table;
      const Table& b = got.*pass.*table;
      ASSERT_EQ(a.shape(), b.shape()) << name;
      ASSERT_EQ(a.dtype(), b.dtype()) << name;
      ASSERT_EQ(Entries(a), Entries(b)) << name;
    }
  }
  EXPECT_EQ(expected.q_sequence, got.q_sequence);
  EXPECT_EQ(expected.mask_function, got.mask_function);
}

// One sequence, in one of the ways in which batches come.
void AppendSequence(std::mt19937_64& random, int64_t length, int32_t pad, Ids* ids) {
  Ids sequence(static_cast<size_t>(length));
  const auto id = [&] { return static_cast<int32_t>(Uniform(random, -3, 4)); };
  switch (Uniform(random, 0, 6)) {
    case 0:  // Numbered documents, padding at the end.
    case 1: {
      int32_t next = 1;
      int64_t at = 0;
      const int64_t end = length - Uniform(random, 0, length / 2);
      while (at < end) {
        const int64_t document = Uniform(random, 1, length / 2 + 1);
        std::fill(sequence.begin() + at, sequence.begin() + std::min(end, at + document), next++);
        at += document;
      }
      std::fill(sequence.begin() + end, sequence.end(), pad);
      break;
    }
    case 2:  // Runs of ids that come back, in any order, padding anywhere.
    case 3: {
      const int64_t change = Uniform(random, 2, 20);
      int32_t now = id();
      for (int32_t& token : sequence) {
        if (Uniform(random, 1, change) == 1) now = id();
        token = now;
      }
      break;
    }
    case 4:  // Scattered.
      for (int32_t& token : sequence) token = id();
      break;
    case 5:  // Scattered over many documents, at the ends of 32 bits too.
      for (int32_t& token : sequence) {
        const bool extreme = Uniform(random, 0, 9) == 0;
        token = extreme ? (Uniform(random, 0, 1) != 0 ? INT32_MAX : INT32_MIN)
                        : static_cast<int32_t>(Uniform(random, 0, length));
      }
      break;
    default:  // One document, or nothing but padding.
      std::fill(sequence.begin(), sequence.end(), Uniform(random, 0, 1) != 0 ? pad : id());
  }
  ids->insert(ids->end(), sequence.begin(), sequence.end());
}

Mask RandomLeaf(std::mt19937_64& random, Shape shape) {
  const int64_t length = shape.q_len;
  const auto window = [&]() -> std::optional<int64_t> {
    if (Uniform(random, 0, 4) == 0) return std::nullopt;
    return Uniform(random, 0, length);
  };
  switch (Uniform(random, 0, 6)) {
    case 0:
      return Mask::Full(shape);
    case 1:
      return Mask::Causal(shape);
    case 2:
      return Mask::Causal(shape, Uniform(random, 0, length));
    case 3: {
      const std::optional<int64_t> left = window();
      return Mask::Local(shape, left, window());
    }
    case 4:
      return Mask::Local(shape, Uniform(random, 0, 5), Uniform(random, 0, 5));
    case 5: {
      const int64_t offset = Uniform(random, -2, 2);
      const std::optional<int64_t> left = window();
      return Mask::Local(shape, left, window(), offset);
    }
    default: {
      const int64_t step = Uniform(random, 1, Uniform(random, 0, 3) == 0 ? 3 * length : 9);
      return Mask::Stride(shape, step,
                          Uniform(random, 0, 3) == 0 ? Uniform(random, 0, step - 1) : 0);
    }
  }
}

Mask RandomMask(std::mt19937_64& random, Shape shape, int depth) {
  const int64_t kind = depth == 0 ? 0 : Uniform(random, 0, 9);
  if (kind < 4) return RandomLeaf(random, shape);
  if (kind == 4) return ~RandomMask(random, shape, depth - 1);
  const Mask left = RandomMask(random, shape, depth - 1);
  const Mask right = RandomMask(random, shape, depth - 1);
  if (kind < 7) return left | right;
  if (kind < 9) return left & right;
  return Uniform(random, 0, 1) != 0 ? left ^ right : left - right;
}

Mask RandomMaskThatSeesItself(std::mt19937_64& random, Shape shape) {
  for (;;) {
    Mask mask = RandomMask(random, shape, 2);
    if (SeesItself(mask)) return mask;
  }
}

int64_t RandomBlock(std::mt19937_64& random, int64_t length) {
  for (;;) {
    const int64_t block = Uniform(random, 1, length);
    if (length % block == 0 && length / block <= 70) return block;
  }
}

TEST(PackedTest, RandomBatchesEqualTheOracle) {
  constexpr int64_t kLengths[] = {1, 2, 6, 12, 16, 24, 40, 64, 90, 130};
  int overflows = 0;
  for (uint64_t seed = 0; seed < SampleSize(6000); ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const int64_t length = kLengths[random() % std::size(kLengths)];
    const int64_t batch = Uniform(random, 1, 3);
    const Mask mask = RandomMaskThatSeesItself(random, {length, length});
    PackedOptions options = Blocks({RandomBlock(random, length), RandomBlock(random, length)});
    if (Uniform(random, 0, 1) != 0) {
      options.dkv = BlockShape{RandomBlock(random, length), RandomBlock(random, length)};
    }
    if (Uniform(random, 0, 3) == 0) options.pad = std::nullopt;
    if (Uniform(random, 0, 7) == 0) options.pad = static_cast<int32_t>(Uniform(random, -3, 4));
    options.use_fused_bwd_kernel = Uniform(random, 0, 2) == 0;
    options.downcast_smem_data = Uniform(random, 0, 3) != 0;
    options.threads = static_cast<int>(Uniform(random, 1, 2));
    if (Uniform(random, 0, 2) == 0) options.width = Uniform(random, 1, length / options.fwd.kv);
    const int64_t dkv_rows = length / options.dkv.value_or(options.fwd).q;
    if (!options.use_fused_bwd_kernel && Uniform(random, 0, 2) == 0) {
      options.height = Uniform(random, 1, dkv_rows);
    }
    Ids ids;
    for (int64_t i = 0; i < batch; ++i)
      AppendSequence(random, length, options.pad.value_or(0), &ids);
    SCOPED_TRACE(testing::Message() << ToString(mask) << " length " << length << " batch " << batch
                                    << " ids " << testing::PrintToString(ids));

    const NaivePacked expected = NaiveCompilePacked(View(ids, batch), mask, options);
    if (expected.overflow) {
      ++overflows;
      ExpectError(ErrorCode::kInvalidArgument, *expected.overflow,
                  [&] { CompilePacked(View(ids, batch), mask, options); });
    } else {
      ExpectSame(*expected.tables, CompilePacked(View(ids, batch), mask, options));
    }
    if (HasFailure()) return;
  }
  EXPECT_GT(overflows, 50);
}

// What JAX makes of the mask alone: a batch of one document has its tables, but for class 2.
TEST(PackedTest, OneDocumentHasTheTablesOfTheMask) {
  for (const char* text : {"causal()", "causal(3)", "local(20, 0)", "local(5, 9)", "full()",
                           "local(3, 0) | stride(16) & causal()"}) {
    SCOPED_TRACE(text);
    const Mask mask = ParseMask(text, {96, 96});
    for (const bool fused : {false, true}) {
      CompileOptions whole;
      whole.fwd = BlockShape{8, 16};
      whole.dkv = BlockShape{16, 8};
      whole.plan.use_fused_bwd_kernel = fused;
      const Plan plan = Compile(MultiHeadMask(mask, 1), whole);
      PackedOptions options = Blocks(*whole.fwd);
      options.dkv = whole.dkv;
      options.use_fused_bwd_kernel = fused;
      const Ids ids(96, 7);
      const PackedTables tables = CompilePacked(View(ids, 1), mask, options);
      EXPECT_EQ(*plan.fwd->info.data_next, tables.fwd.data_next);
      EXPECT_EQ(*plan.dkv->info.data_next, tables.dkv.data_next);
      for (const auto& [info, pass] :
           {std::pair(&plan.fwd->info, &tables.fwd), std::pair(&plan.dkv->info, &tables.dkv)}) {
        std::vector<int32_t> classes = Entries(*info->block_mask);
        for (int32_t& c : classes) c = std::min(c, 1);
        EXPECT_EQ(classes, Entries(pass->block_mask));
        EXPECT_EQ(info->block_mask->dtype(), pass->block_mask.dtype());
      }
    }
  }
}

// Written out by hand: 8 tokens in blocks of 2, documents of 3 and 3 tokens, padding.
TEST(PackedTest, GoldenTables) {
  const Ids ids{5, 5, 5, 9, 9, 9, 0, 0};
  const Mask mask = Mask::Causal({8, 8});
  const PackedTables shrunk = CompilePacked(View(ids, 1), mask, Blocks({2, 2}));
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0,  //
                                  0, 1, 0, 0,  //
                                  1, 2, 0, 0,  //
                                  3, 0, 0, 0}),
            Entries(shrunk.fwd.data_next));
  EXPECT_EQ((std::vector<int32_t>{1, 0, 0, 0,  //
                                  1, 1, 0, 0,  //
                                  1, 1, 0, 0,  //
                                  1, 0, 0, 0}),
            Entries(shrunk.fwd.block_mask));
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0,  //
                                  0, 0, 0, 0,  //
                                  0, 1, 0, 0,  //
                                  1, 2, 2, 3}),
            Entries(shrunk.dkv.data_next));
  EXPECT_EQ((std::vector<int32_t>{0, 0, 0, 0,  //
                                  0, 0, 0, 0,  //
                                  1, 1, 0, 0,  //
                                  1, 1, 1, 1}),
            Entries(shrunk.dkv.block_mask));
  EXPECT_EQ((std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7}), shrunk.q_sequence.ToInt64());
  EXPECT_EQ(DType::kInt32, shrunk.q_sequence.dtype());
  EXPECT_EQ(mask, shrunk.mask_function);

  PackedOptions fused = Blocks({2, 2});
  fused.use_fused_bwd_kernel = true;
  const PackedTables whole = CompilePacked(View(ids, 1), mask, fused);
  EXPECT_EQ((std::vector<int32_t>{0, 1, 2, 3,  //
                                  1, 1, 2, 3,  //
                                  1, 2, 2, 3,  //
                                  1, 2, 3, 3}),
            Entries(whole.dkv.data_next));
  EXPECT_EQ((std::vector<int32_t>{1, 0, 0, 0,  //
                                  1, 1, 0, 0,  //
                                  0, 1, 1, 0,  //
                                  0, 0, 0, 1}),
            Entries(whole.dkv.block_mask));
}

TEST(PackedTest, ShapesAndTypesIgnoreTheIds) {
  const int64_t length = 512;  // 256 blocks: int16, though no entry of short documents needs it.
  const Mask mask = Mask::Local({length, length}, 9, 0);
  const Ids one(512, 1);
  Ids many;
  for (int64_t i = 0; i < length; ++i) many.push_back(static_cast<int32_t>(i));
  const Ids padding(512, 0);
  const PackedTables expected = CompilePacked(View(one, 1), mask, Blocks({2, 2}));
  EXPECT_EQ(DType::kInt16, expected.fwd.data_next.dtype());
  EXPECT_EQ(DType::kInt8, expected.fwd.block_mask.dtype());
  EXPECT_EQ((std::array<int64_t, 3>{1, 256, 6}), expected.fwd.data_next.shape());
  EXPECT_EQ((std::array<int64_t, 3>{1, 6, 256}), expected.dkv.data_next.shape());
  for (const Ids& ids : {many, padding}) {
    const PackedTables got = CompilePacked(View(ids, 1), mask, Blocks({2, 2}));
    for (const auto pass : {&PackedTables::fwd, &PackedTables::dkv}) {
      for (const auto table : {&PackedPass::data_next, &PackedPass::block_mask}) {
        EXPECT_EQ((expected.*pass.*table).shape(), (got.*pass.*table).shape());
        EXPECT_EQ((expected.*pass.*table).dtype(), (got.*pass.*table).dtype());
      }
    }
  }
  // 128 blocks still fit in int8.
  const PackedTables few = CompilePacked(View(one, 1), mask, Blocks({4, 4}));
  EXPECT_EQ(DType::kInt8, few.fwd.data_next.dtype());
}

TEST(PackedTest, ScatteredDocumentsUnderStridesAreExact) {
  const int64_t length = 1200;
  Ids ids;
  std::mt19937_64 random(5);
  for (int64_t i = 0; i < 2 * length; ++i) ids.push_back(static_cast<int32_t>(random() % 5));
  for (const char* text :
       {"stride(7)", "stride(7) & causal()", "local(2, 0) | stride(31)", "stride(5) & stride(3)",
        "full() - stride(2, 1)", "~stride(3, 1)", "causal() & (stride(4) | local(9, none))",
        "stride(127) ^ stride(128, 5)"}) {
    SCOPED_TRACE(text);
    const Mask mask = ParseMask(text, {length, length});
    PackedOptions options = Blocks({8, 24});
    options.dkv = BlockShape{48, 8};
    ExpectSame(*NaiveCompilePacked(View(ids, 2), mask, options).tables,
               CompilePacked(View(ids, 2), mask, options));
  }
}

TEST(PackedTest, ThreadsDoNotMatter) {
  const int64_t length = 4096, batch = 64;
  Ids ids;
  std::mt19937_64 random(11);
  for (int64_t i = 0; i < batch; ++i) {
    int32_t id = 0;
    for (int64_t token = 0; token < length; ++token) {
      ids.push_back(id);
      if (Uniform(random, 1, 150) == 1) ++id;
    }
  }
  const Mask mask = Mask::Causal({length, length});
  PackedOptions options = Blocks({32, 32});
  options.threads = 1;
  const PackedTables expected = CompilePacked(View(ids, batch), mask, options);
  for (int threads : {2, 8}) {
    options.threads = threads;
    ExpectSame(expected, CompilePacked(View(ids, batch), mask, options));
  }
}

}  // namespace
}  // namespace splashmask
