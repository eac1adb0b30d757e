// SPDX-License-Identifier: Apache-2.0
// Pairs counted by classes, runs and words, against cells one by one.

#include "splashmask/planner/compile/count_pairs.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/print.h"
#include "tests/support/expect_error.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

void ExpectLikeCells(const Mask& mask, const PairRectangle& in, int threads) {
  const std::vector<uint8_t> cells = NaiveCells(mask);
  std::vector<int64_t> of_rows;
  int64_t all = 0;
  for (int64_t q = in.q_begin; q < in.q_end; ++q) {
    of_rows.push_back(0);
    for (int64_t kv = in.kv_begin; kv < in.kv_end; ++kv) {
      of_rows.back() += cells[static_cast<size_t>(q * mask.shape().kv_len + kv)];
    }
    all += of_rows.back();
  }
  SCOPED_TRACE(ToString(mask) + " rows " + std::to_string(in.q_begin) + ".." +
               std::to_string(in.q_end) + ", positions " + std::to_string(in.kv_begin) + ".." +
               std::to_string(in.kv_end));
  EXPECT_EQ(std::vector{all}, CountPairs(MultiHeadMask(mask, 1), in, threads));
  EXPECT_EQ(of_rows, CountPairsOfRows(mask, in, threads));
}

TEST(CountPairsTest, RandomMasksAndRectangles) {
  std::mt19937_64 random(1);
  for (size_t i = 0; i < SampleSize(2000); ++i) {
    const Shape shape{Uniform(random, 1, 70), Uniform(random, 1, 200)};
    const Mask mask = RandomMask(random, shape, static_cast<int>(i % 4));
    PairRectangle in{0, shape.q_len, 0, shape.kv_len};
    ASSERT_NO_FATAL_FAILURE(ExpectLikeCells(mask, in, static_cast<int>(i % 3) + 1));
    in.q_begin = Uniform(random, 0, shape.q_len);
    in.q_end = Uniform(random, in.q_begin, shape.q_len);
    in.kv_begin = Uniform(random, 0, shape.kv_len);
    in.kv_end = Uniform(random, in.kv_begin, shape.kv_len);
    ASSERT_NO_FATAL_FAILURE(ExpectLikeCells(mask, in, 1));
    if (HasFailure()) return;
  }
}

// More rows than one thread counts at once, with few runs and with many.
TEST(CountPairsTest, ManyRows) {
  const Shape shape{9009, 130};
  for (const Mask& mask : {Mask::Local(shape, 40, 7, -4000), Mask::Stride(shape, 2),
                           ~Mask::Stride(shape, 3) & Mask::Causal(shape, -50), Mask::Empty(shape),
                           Mask::Full(shape).Reorder(Positions::Striped(7))}) {
    ExpectLikeCells(mask, {0, shape.q_len, 0, shape.kv_len}, 2);
    ExpectLikeCells(mask, {4095, 8193, 3, 129}, 2);
  }
}

TEST(CountPairsTest, HeadsAndAMillionPositions) {
  constexpr int64_t kLength = 1 << 20;
  const Shape shape{kLength, kLength};
  const Mask causal = Mask::Causal(shape);
  const MultiHeadMask mask({causal, Mask::Local(shape, 4095, 0), causal, Mask::Full(shape),
                            Mask::Documents(shape, {1000, 1 << 19, 7}) & causal});
  const auto triangle = [](int64_t n) { return n * (n + 1) / 2; };
  EXPECT_EQ(
      (std::vector<int64_t>{triangle(kLength), 4096 * kLength - triangle(4095), triangle(kLength),
                            kLength * kLength, triangle(1000) + triangle(1 << 19) + triangle(7)}),
      CountPairs(mask));
}

TEST(CountPairsTest, CountsAnyRows) {
  constexpr Shape kShape{64, 80};
  const auto rows = [&](int64_t begin, int64_t end) {
    return PairRectangle{begin, end, 0, kShape.kv_len};
  };
  for (const Mask& mask :
       {(Mask::Causal(kShape) & Mask::Stride(kShape, 3)) ^ Mask::Prefix(kShape, 9),
        Mask::Stride(kShape, 3), Mask::Causal(kShape, 7).Reorder(Positions::Zigzag(4)),
        Mask::Empty(kShape), Mask::Full(kShape)}) {
    for (const int64_t begin : {0, 1, 40, 64}) {
      for (int64_t end = begin; end <= kShape.q_len; end += 8) {
        int64_t expected = 0;
        for (int64_t q = begin; q < end; ++q) {
          for (int64_t kv = 0; kv < kShape.kv_len; ++kv) expected += NaiveAt(mask, q, kv);
        }
        ASSERT_EQ(std::vector{expected}, CountPairs(MultiHeadMask(mask, 1), rows(begin, end)));
      }
    }
  }
  ExpectError(ErrorCode::kInvalidArgument, "[count] expected a range of q inside 0..64, got 3..65",
              [&] { CountPairs(MultiHeadMask(Mask::Full(kShape), 1), rows(3, 65)); });
}

TEST(CountPairsTest, BadRectanglesAndStops) {
  const Shape shape{8, 12};
  const MultiHeadMask mask(Mask::Causal(shape), 2);
  ExpectError(ErrorCode::kInvalidArgument, "[count] expected a range of q inside 0..8, got 3..9",
              [&] {
                CountPairs(mask, PairRectangle{3, 9, 0, 12});
              });
  ExpectError(ErrorCode::kInvalidArgument, "[count] expected a range of kv inside 0..12, got 5..4",
              [&] {
                CountPairsOfRows(mask.masks()[0], PairRectangle{0, 8, 5, 4});
              });
  const Shape vast{int64_t{1} << 40, int64_t{1} << 40};
  ExpectError(ErrorCode::kTooLarge, "[count] expected fewer cells than 64 bits count",
              [&] { CountPairs(MultiHeadMask(Mask::Full(vast), 1)); });
  const std::atomic<bool> stop = true;
  Progress progress;
  progress.stop = &stop;
  EXPECT_THROW(CountPairs(mask, {}, 1, progress), Error);
}

}  // namespace
}  // namespace splashmask
