// SPDX-License-Identifier: Apache-2.0
// Masks compared as functions, against cells one by one.

#include "splashmask/planner/compile/diff_masks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/custom_function.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

MultiHeadMask One(const Mask& mask) { return MultiHeadMask(mask, 1); }

MaskDifference Diff(const Mask& a, const Mask& b, int threads = 1) {
  return DiffMasks(One(a), One(b), threads).front();
}

MaskDifference DiffOfCells(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b,
                           int64_t kv_len) {
  MaskDifference difference;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const auto cell = static_cast<int64_t>(i);
    if (!difference.first) difference.first = {cell / kv_len, cell % kv_len, a[i] != 0, b[i] != 0};
    ++difference.cells;
  }
  return difference;
}

std::string Text(const MaskDifference& difference) {
  std::string text = std::to_string(difference.cells);
  if (const auto& first = difference.first) {
    text += " from " + std::to_string(first->q) + ", " + std::to_string(first->kv) + ": " +
            std::to_string(first->a) + " and " + std::to_string(first->b);
  }
  return text;
}

void ExpectLikeCells(const Mask& a, const Mask& b, int threads) {
  const MaskDifference expected = DiffOfCells(NaiveCells(a), NaiveCells(b), a.shape().kv_len);
  EXPECT_EQ(Text(expected), Text(Diff(a, b, threads))) << ToString(a) << "   " << ToString(b);
}

Mask OneCell(Shape shape, int64_t q, int64_t kv) {
  return Mask::QRange(shape, q, q + 1) & Mask::KvRange(shape, kv, kv + 1);
}

// Every pair of expressions with at most one operator over a few leaves, negated or not.
TEST(DiffMasksTest, EveryPairOfSmallExpressions) {
  for (const Shape shape : {Shape{4, 6}, Shape{5, 3}}) {
    const std::vector<Mask> leaves = {
        Mask::Causal(shape), Mask::Local(shape, std::nullopt, 0), Mask::Stride(shape, 2),
        Mask::Prefix(shape, 2),
        Mask::Causal(shape, 1).Reorder(Positions::FromArray(
            Array::FromVector(std::vector<int64_t>(static_cast<size_t>(shape.q_len), 2))))};
    std::vector<Mask> masks = leaves;
    masks.push_back(Mask::Empty(shape));
    for (const Mask& a : leaves) {
      masks.push_back(~a);
      for (const Mask& b : leaves) {
        for (const Mask& mask : {a & b, a | b, a ^ b, a - b, ~(a - ~b)}) masks.push_back(mask);
      }
    }
    std::vector<std::vector<uint8_t>> cells;
    for (const Mask& mask : masks) cells.push_back(NaiveCells(mask));
    for (size_t a = 0; a < masks.size(); ++a) {
      for (size_t b = 0; b < masks.size(); ++b) {
        ASSERT_EQ(Text(DiffOfCells(cells[a], cells[b], shape.kv_len)),
                  Text(Diff(masks[a], masks[b])))
            << ToString(masks[a]) << "   " << ToString(masks[b]);
      }
    }
  }
}

// `mask` written otherwise, or with another part somewhere.
Mask Changed(std::mt19937_64& random, const Mask& mask, const Mask& other) {
  const Mask cell = OneCell(mask.shape(), Uniform(random, 0, mask.shape().q_len - 1),
                            Uniform(random, 0, mask.shape().kv_len - 1));
  switch (Uniform(random, 0, 11)) {
    case 0:
      return ~~mask;
    case 1:
      return mask ^ cell;
    case 2:
      return mask | cell;
    case 3:
      return mask - cell;
    case 4:
      return ~(~mask & ~other);
    case 5:
      return other & (mask ^ cell);
    case 6:
      return (mask - cell) | other;
    case 7:
      return mask - (other ^ cell);
    case 8:
      return (other | cell) - mask;
    case 9:
      return (mask ^ cell) ^ other;
    case 10:
      return mask & other;
    default:
      return other | mask;
  }
}

TEST(DiffMasksTest, RandomMasks) {
  std::mt19937_64 random(1);
  for (size_t i = 0; i < SampleSize(3000); ++i) {
    const Shape shape{Uniform(random, 1, 70), Uniform(random, 1, 200)};
    const Mask mask = RandomMask(random, shape, static_cast<int>(i % 4));
    const Mask other = RandomMask(random, shape, static_cast<int>(i % 3));
    Mask a = Changed(random, mask, other), b = Changed(random, mask, other);
    if (i % 5 == 0) {  // In one order of the rows, or in two.
      std::vector<int64_t> positions(static_cast<size_t>(shape.q_len));
      for (int64_t& position : positions) position = Uniform(random, 0, shape.q_len - 1);
      a = a.Reorder(Positions::FromArray(Array::FromVector(positions)));
      if (i % 10 == 0) positions[0] = 0;
      b = b.Reorder(Positions::FromArray(Array::FromVector(positions)));
    }
    ExpectLikeCells(a, b, static_cast<int>(i % 3) + 1);
    ExpectLikeCells(a, other, 1);
    if (HasFailure()) return;
  }
}

// Rows and columns beyond what is looked at in one piece, with few runs and with many.
TEST(DiffMasksTest, ManyCells) {
  const Shape tall{9009, 130}, wide{70, 40000};
  for (const Shape shape : {tall, wide}) {
    const Mask stride = Mask::Stride(shape, 3), local = Mask::Local(shape, 40, 7, -4000);
    const Mask last = OneCell(shape, shape.q_len - 1, shape.kv_len - 1);
    ExpectLikeCells(stride, Mask::Stride(shape, 5) & local, 2);
    ExpectLikeCells(local, Mask::Local(shape, 41, 7, -4000) | last, 2);
    ExpectLikeCells(stride & ~local, Mask::Stride(shape, 3, 1) - local, 2);
    ExpectLikeCells(stride | Mask::Prefix(shape, 20000),
                    (stride ^ last) | Mask::Prefix(shape, 20001), 2);
  }
}

// The first of a rectangle that is drawn in parts: a later part has an earlier row.
TEST(DiffMasksTest, TheFirstOfSeveralParts) {
  const Shape shape{70, 40000};
  const auto corner = [&](int64_t q, int64_t kv) {
    return Mask::QRange(shape, q, q + 1) & Mask::KvRange(shape, kv, kv + 100);
  };
  const Mask mask = Mask::Stride(shape, 3) & (corner(6, 10) | corner(5, 39000) | corner(5, 39500));
  EXPECT_EQ((DifferingPair{5, 39002, true, false}), Diff(mask, Mask::Empty(shape)).first);
  ExpectLikeCells(Mask::Empty(shape), mask, 1);
}

TEST(DiffMasksTest, AMillionPositions) {
  constexpr int64_t kLength = 1 << 20;
  const Shape shape{kLength, kLength};
  const Mask causal = Mask::Causal(shape), stride = Mask::Stride(shape, 64);
  const Mask documents = Mask::Documents(shape, {1000, 1 << 19, 7});
  const Mask cell = OneCell(shape, 700'001, 699'999);
  const std::optional<DifferingPair> first{{700'001, 699'999, true, false}};
  EXPECT_EQ((MaskDifference{}), Diff(causal, Mask::Local(shape, std::nullopt, 0)));
  EXPECT_EQ((MaskDifference{1, first}), Diff(causal, Mask::Local(shape, std::nullopt, 0) - cell));
  EXPECT_EQ((MaskDifference{kLength - 1, DifferingPair{0, 1, false, true}}),
            Diff(causal, Mask::Causal(shape, 1)));
  // A part that both have is not looked at.
  EXPECT_EQ((MaskDifference{1, first}), Diff(causal | stride, stride | (causal - cell)));
  const Mask corner = Mask::QRange(shape, 0, 2) & Mask::Prefix(shape, 1000);
  EXPECT_EQ((MaskDifference{1, DifferingPair{1, 0, true, false}}),
            Diff((documents & causal) | stride, (documents & (causal - corner)) | stride));
}

class CountingFunction final : public CustomFunction {
 public:
  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override {
    const int64_t columns = kv_end - kv_begin;
    cells += static_cast<int64_t>(q.size()) * columns;
    for (const int64_t position : q) {
      for (int64_t kv = kv_begin; kv < kv_end; ++kv) *out++ = std::byte{(position + kv) % 3 == 0};
    }
  }
  std::string name() const override { return "counting"; }

  mutable std::atomic<int64_t> cells = 0;
};

// Neither what both share nor what another operand hides is evaluated.
TEST(DiffMasksTest, AsksForFewCells) {
  const Shape shape{1 << 20, 1 << 20};
  const auto function = std::make_shared<CountingFunction>();
  const Mask custom = Mask::Custom(shape, function), causal = Mask::Causal(shape);
  const Mask cell = OneCell(shape, 30'000, 20'001);
  const DifferingPair first{30'000, 20'001, true, false};
  const std::vector<std::pair<Mask, Mask>> different = {
      {causal, causal - (cell | (cell & custom))},
      {causal | custom, custom | (causal - cell)},
      {custom & causal, (causal - cell) & custom},
      {causal - ~custom, (causal - cell) - ~~~custom},
      {~(custom ^ causal), ~((causal - cell) ^ custom)}};
  for (const auto& [a, b] : different) {
    function->cells = 0;
    const MaskDifference found = Diff(a, b);
    const bool shows = NaiveAt(a, 30'000, 20'001) != NaiveAt(b, 30'000, 20'001);
    EXPECT_EQ(shows ? 1 : 0, found.cells) << ToString(a) << "   " << ToString(b);
    EXPECT_LE(function->cells, 1 << 22) << ToString(a) << "   " << ToString(b);
    function->cells = 0;
    EXPECT_EQ((MaskDifference{}), Diff(b, b));
    EXPECT_EQ(0, function->cells);
  }
  EXPECT_EQ((MaskDifference{1, first}), Diff(different[0].first, different[0].second));
}

TEST(DiffMasksTest, DeepExpressions) {
  const Shape shape{40, 50};
  Mask a = Mask::Causal(shape), b = Mask::Causal(shape, 1), c = a;
  for (int i = 1; a.node().depth < kMaxMaskDepth - 3; ++i) {
    const Mask leaf = Mask::Causal(shape, i % 7 + 3);
    a = i % 2 == 0 ? leaf & a : leaf - ~a;
    b = i % 2 == 0 ? leaf & b : leaf - ~b;
    c = i % 2 == 0 ? ~c : c | leaf;
  }
  ASSERT_THROW(~~~~(a ^ b), Error);
  ExpectLikeCells(a, b, 1);
  ExpectLikeCells(a, c, 1);
  ExpectLikeCells(~a, ~b, 1);
  Mask large = Mask::Causal(shape, 1);  // Too large to look into.
  for (int i = 0; i < 13; ++i) large = large & large;
  ExpectLikeCells(large | Mask::Stride(shape, 3), large ^ OneCell(shape, 3, 3), 1);
}

TEST(DiffMasksTest, Heads) {
  const Shape shape{64, 80};
  const auto function = std::make_shared<CountingFunction>();
  const Mask causal = Mask::Causal(shape), custom = Mask::Custom(shape, function);
  const Mask inverse = ~custom;
  const MultiHeadMask a({causal, custom, causal, custom, custom});
  const MultiHeadMask b({Mask::Causal(shape), inverse, Mask::Causal(shape, 1), inverse, custom});
  const std::vector<MaskDifference> found = DiffMasks(a, b, 2);
  ASSERT_EQ(5, std::ssize(found));
  EXPECT_TRUE(found[0].is_equal());
  EXPECT_EQ((MaskDifference{64 * 80, DifferingPair{0, 0, true, false}}), found[1]);
  EXPECT_EQ((MaskDifference{64, DifferingPair{0, 1, false, true}}), found[2]);
  EXPECT_EQ(found[1], found[3]);
  EXPECT_TRUE(found[4].is_equal());
  EXPECT_EQ(1, function->cells);  // Which of the two it is, once for both heads.
}

TEST(DiffMasksTest, MasksThatDoNotGoTogether) {
  const Mask mask = Mask::Causal({8, 12});
  ExpectError(ErrorCode::kInvalidArgument,
              "[diff] expected masks of one shape and number of heads, got (8, 12) with 1 head and "
              "(8, 13) with 1 head",
              [&] {
                DiffMasks(One(mask), One(Mask::Causal({8, 13})));
              });
  ExpectError(ErrorCode::kInvalidArgument,
              "[diff] expected masks of one shape and number of heads, got (8, 12) with 1 head and "
              "(8, 12) with 3 heads",
              [&] { DiffMasks(One(mask), MultiHeadMask(mask, 3)); });
  const Shape vast{int64_t{1} << 40, int64_t{1} << 40};
  ExpectError(ErrorCode::kTooLarge, "[diff] expected fewer cells than 64 bits count",
              [&] { DiffMasks(One(Mask::Full(vast)), One(Mask::Causal(vast))); });
}

TEST(DiffMasksTest, StopsAndReports) {
  const Shape shape{1 << 20, 1 << 20};
  const MultiHeadMask a = One(Mask::Causal(shape)), b = One(Mask::Causal(shape, 1));
  const std::atomic<bool> stop = true;
  Progress progress;
  progress.stop = &stop;
  ExpectError(ErrorCode::kCancelled, "[progress] stopped at the caller's request",
              [&] { DiffMasks(a, b, 2, progress); });
  double last = 0;
  progress.stop = nullptr;
  progress.report = [&](double done) { last = done; };
  DiffMasks(a, b, 1, progress);
  EXPECT_EQ(1, last);
}

}  // namespace
}  // namespace splashmask
