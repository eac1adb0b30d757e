// SPDX-License-Identifier: Apache-2.0
// Masks that only a program can evaluate: the tables of their cells, from as few calls as their
// classifier allows.

#include "splashmask/masks/custom_function.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "splashmask/masks/mask_cells.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"

namespace splashmask {
namespace {

// (q - kv) mod 3 == 0 below the diagonal.
class Dilated : public CustomFunction {
 public:
  explicit Dilated(bool classifies, bool is_computable = false)
      : classifies_(classifies), computable_(is_computable) {}

  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override {
    ++calls;
    for (const int64_t row : q) {
      for (int64_t kv = kv_begin; kv < kv_end; ++kv) {
        *out++ = std::byte{row >= kv && (row - kv) % 3 == 0};
      }
    }
  }
  std::optional<bool> Classify(int64_t, int64_t q_end, int64_t kv_begin, int64_t) const override {
    return classifies_ && q_end <= kv_begin ? std::optional(false) : std::nullopt;
  }
  bool computable() const override { return computable_; }
  std::string name() const override { return "dilated"; }

  mutable std::atomic<int> calls = 0;

 private:
  bool classifies_, computable_;
};

constexpr Shape kShape{64, 80};

Mask SameCells() { return Mask::Causal(kShape) & Mask::Stride(kShape, 3); }

CompileOptions Blocks() {
  CompileOptions options;
  options.fwd = options.dq = options.dkv = BlockShape{16, 8};
  return options;
}

void ExpectSameTables(const Mask& expected, const Mask& got) {
  const Mask full = Mask::Full(kShape);
  const auto compile = [](const std::vector<Mask>& heads) {
    return Compile(MultiHeadMask(heads), Blocks());
  };
  for (const auto& [want, plan] : {std::pair(compile({expected}), compile({got})),
                                   std::pair(compile({expected, full}), compile({got, full}))}) {
    for (Pass pass : kAllPasses) EXPECT_TRUE(want.pass(pass)->info == plan.pass(pass)->info);
    EXPECT_FALSE(Certify(plan).mismatch);
  }
}

TEST(CustomFunctionTest, HasTheTablesOfItsCells) {
  for (bool classifies : {false, true}) {
    ExpectSameTables(SameCells(), Mask::Custom(kShape, std::make_shared<Dilated>(classifies)));
  }
}

TEST(CustomFunctionTest, ComposesAndReorders) {
  const Mask custom = Mask::Custom(kShape, std::make_shared<Dilated>(true));
  const Mask extra = Mask::Prefix(kShape, 5);
  ExpectSameTables(SameCells() | extra, custom | extra);
  ExpectSameTables(~SameCells(), ~custom);
  const Positions zigzag = Positions::Zigzag(4);
  ExpectSameTables(SameCells().Reorder(zigzag), custom.Reorder(zigzag));
}

TEST(CustomFunctionTest, IsCalledOnceForEachBlockThatItsClassifierLeaves) {
  CompileOptions options;
  options.fwd = BlockShape{16, 8};
  const auto blind = std::make_shared<Dilated>(false), sees = std::make_shared<Dilated>(true);
  Compile(MultiHeadMask(Mask::Custom(kShape, blind), 4), options);
  EXPECT_EQ(4 * 10, blind->calls);
  Compile(MultiHeadMask(Mask::Custom(kShape, sees), 4), options);
#ifdef NDEBUG
  EXPECT_EQ(2 + 4 + 6 + 8, sees->calls);
#else
  EXPECT_LT(2 + 4 + 6 + 8, sees->calls);  // What the classifier says is held against cells.
#endif
}

TEST(CustomFunctionTest, ComputableOnesAreTheMaskFunction) {
  const Mask custom = Mask::Custom(kShape, std::make_shared<Dilated>(false, true));
  const Plan plan = Compile(MultiHeadMask(custom, 2), Blocks());
  EXPECT_EQ(custom, plan.fwd->mask_function);
  EXPECT_FALSE(plan.fwd->info.partial_mask_blocks);
  EXPECT_TRUE(plan.fwd->info.q_sequence);
  EXPECT_FALSE(Certify(plan).mismatch);
  // Positions of a function of positions may be any integers.
  const Mask moved =
      custom.Reorder(Positions::FromArray(Array::FromVector(std::vector<int64_t>(64, 1000))));
  EXPECT_EQ(custom, Compile(MultiHeadMask(moved, 1), Blocks()).fwd->mask_function);
}

TEST(CustomFunctionTest, EqualityIsTheFunctions) {
  const auto function = std::make_shared<Dilated>(false);
  EXPECT_EQ(Mask::Custom(kShape, function), Mask::Custom(kShape, function));
  EXPECT_EQ(Mask::Custom(kShape, function).Hash(), Mask::Custom(kShape, function).Hash());
  EXPECT_NE(Mask::Custom(kShape, function), Mask::Custom(kShape, std::make_shared<Dilated>(false)));
}

TEST(CustomFunctionTest, HasNoTextToStore) {
  const Mask mask = ~Mask::Custom(kShape, std::make_shared<Dilated>(false));
  EXPECT_EQ("~<custom function dilated>", ToString(mask));
  ExpectError(ErrorCode::kInvalidArgument,
              "[mask] expected a mask with a text form, got the custom function dilated: store its "
              "cells with dense(...)",
              [&] { CanonicalText(mask); });
}

// The same cells, one call a cell and one call a row.
std::shared_ptr<const CustomFunction> Cells(Classifier classifier = nullptr) {
  return std::make_shared<CellFunction>(
      "cells", [](int64_t q, int64_t kv) { return q >= kv && (q - kv) % 3 == 0; }, classifier);
}
std::shared_ptr<const CustomFunction> Rows(std::atomic<int>* calls = nullptr,
                                           Classifier classifier = nullptr) {
  return std::make_shared<RunFunction>(
      "rows",
      [calls](int64_t q, std::vector<KvRun>* runs) {
        if (calls != nullptr) ++*calls;
        for (int64_t kv = q % 3; kv <= q && kv < kShape.kv_len; kv += 3)
          runs->push_back({kv, kv + 1});
      },
      classifier);
}
std::optional<bool> NothingAbove(int64_t, int64_t q_end, int64_t kv_begin, int64_t) {
  return q_end <= kv_begin ? std::optional(false) : std::nullopt;
}

TEST(CustomFunctionTest, CallablesOfCellsAndOfRows) {
  const Positions zigzag = Positions::Zigzag(4);
  for (const auto& function : {Cells(), Cells(NothingAbove), Rows(), Rows(nullptr, NothingAbove)}) {
    SCOPED_TRACE(function->name());
    const Mask custom = Mask::Custom(kShape, function);
    ExpectSameTables(SameCells(), custom);
    ExpectSameTables(~SameCells().Reorder(zigzag, zigzag), ~custom.Reorder(zigzag, zigzag));
    EXPECT_EQ(NaiveCells(SameCells()), NaiveCells(custom));
  }
  EXPECT_EQ("<custom function cells>", ToString(Mask::Custom(kShape, Cells())));
}

// Long rows of few runs: each row is asked for once to classify, and again where a block is drawn.
TEST(CustomFunctionTest, RowsAreAskedForNotBlocks) {
  const Shape shape{1024, 1 << 20};
  std::atomic<int> calls = 0;
  const auto window =
      std::make_shared<RunFunction>("window", [&](int64_t q, std::vector<KvRun>* runs) {
        ++calls;
        runs->push_back({q * 1000, q * 1000 + 5000});
      });
  CompileOptions options;
  options.fwd = BlockShape{64, 256};
  const Plan plan = Compile(MultiHeadMask(Mask::Custom(shape, window), 1), options);
  EXPECT_FALSE(Certify(plan).mismatch);
  // 64 rows reach over 265 blocks, all of them in part.
  calls = 0;
  Compile(MultiHeadMask(Mask::Custom(shape, window), 1), options);
  EXPECT_LE(calls, 3 + 1024 + 64 * 16 * 268);
}

TEST(CustomFunctionTest, RefusesRunsOutOfOrder) {
  const std::pair<std::vector<KvRun>, const char*> cases[] = {
      {{{5, 3}}, "5..3"},   {{{5, 5}}, "5..5"},          {{{-1, 3}}, "-1..3"},
      {{{3, 81}}, "3..81"}, {{{9, 20}, {3, 5}}, "3..5"}, {{{9, 20}, {19, 25}}, "19..25"},
  };
  for (const auto& entry : cases) {
    const auto bad = std::make_shared<RunFunction>("bad", [&](int64_t q, std::vector<KvRun>* runs) {
      if (q == 40) *runs = entry.first;
    });
    ExpectError(ErrorCode::kInvalidArgument,
                std::string("[custom] expected bad to give ascending runs inside 0..80, got ") +
                    entry.second + " in the row at 40",
                [&] { Compile(MultiHeadMask(Mask::Custom(kShape, bad), 1), Blocks()); });
  }
  // Runs that touch are one.
  const auto touching =
      std::make_shared<RunFunction>("touching", [](int64_t, std::vector<KvRun>* runs) {
        *runs = {{0, 4}, {4, 9}, {9, 10}};
      });
  ExpectSameTables(Mask::Prefix(kShape, 10), Mask::Custom(kShape, touching));
}

TEST(CustomFunctionTest, ALyingClassifierIsFound) {
  const auto lies = [](int64_t q_begin, int64_t q_end, int64_t kv_begin, int64_t kv_end) {
    const bool here = q_begin == 32 && q_end == 48 && kv_begin == 16 && kv_end == 24;
    return here ? std::optional(false) : std::nullopt;
  };
  for (const auto& function : {Cells(lies), Rows(nullptr, lies)}) {
    const MultiHeadMask mask(Mask::Custom(kShape, function), 1);
    CompileOptions options;
    options.fwd = BlockShape{16, 8};
#ifdef NDEBUG
    const Certificate certificate = Certify(Compile(mask, options));
    ASSERT_TRUE(certificate.mismatch);
    EXPECT_EQ(certificate.mismatch->table, "block_mask");  // A block in part was taken for empty.
#else
    ExpectError(ErrorCode::kInvalidArgument,
                "[custom] expected the classifier of " + function->name() +
                    " to agree with its cells, but it says that no cell of q 32..48 and kv 16..24 "
                    "attends, and (32, 17) does",
                [&] { Compile(mask, options); });
#endif
  }
}

TEST(CustomFunctionTest, ItsExceptionsComeOut) {
  struct Broken : Dilated {
    Broken() : Dilated(false) {}
    void Evaluate(std::span<const int64_t>, int64_t, int64_t, std::byte*) const override {
      throw std::domain_error("mine");
    }
  };
  const MultiHeadMask mask(Mask::Custom(kShape, std::make_shared<Broken>()), 1);
  for (int threads : {1, 2}) {
    CompileOptions options = Blocks();
    options.threads = threads;
    EXPECT_THROW(Compile(mask, options), std::domain_error);
  }
}

TEST(MaskCellsTest, ReadsAnyRectangle) {
  const Mask mask = SameCells() ^ Mask::Prefix(kShape, 9);
  const MaskCells cells(mask);
  for (int64_t q0 : {0, 1, 40, 64}) {
    for (int64_t q1 : {0, 1, 63, 64}) {
      for (int64_t kv0 : {0, 5, 79, 80}) {
        for (int64_t kv1 : {0, 7, 77, 80}) {
          if (q0 > q1 || kv0 > kv1) {
            EXPECT_THROW(cells.Read(q0, q1, kv0, kv1, nullptr), Error);
            continue;
          }
          std::vector<std::byte> got(static_cast<size_t>((q1 - q0) * (kv1 - kv0)));
          cells.Read(q0, q1, kv0, kv1, got.data());
          for (int64_t i = 0; i < std::ssize(got); ++i) {
            const int64_t q = q0 + i / (kv1 - kv0), kv = kv0 + i % (kv1 - kv0);
            ASSERT_EQ(std::byte{NaiveAt(mask, q, kv)}, got[static_cast<size_t>(i)]);
          }
        }
      }
    }
  }
  ExpectError(ErrorCode::kInvalidArgument, "[cells] expected a range of kv inside 0..80, got 3..81",
              [&] { cells.Read(0, 1, 3, 81, nullptr); });
}

}  // namespace
}  // namespace splashmask
