// SPDX-License-Identifier: Apache-2.0
// The certifier's words against one cell at a time.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/certify/cells.h"
#include "splashmask/planner/certify/partial_blocks.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

// Reads every row whole and in a few windows that begin and end off the word.
void ExpectWordsEqualCells(const Mask& mask) {
  const Shape shape = mask.shape();
  const certify::CellProgram program(mask);
  certify::CellReader reader(program);
  std::vector<std::pair<int64_t, int64_t>> windows{{0, shape.kv_len}};
  if (shape.kv_len > 2) windows.emplace_back(1, shape.kv_len - 2);
  for (int64_t begin : {int64_t{1}, int64_t{7}, int64_t{64}}) {
    if (begin < shape.kv_len) windows.emplace_back(begin, shape.kv_len - begin);
  }
  for (const auto& [begin, count] : windows) {
    for (int64_t q = 0; q < shape.q_len; ++q) {
      uint64_t words[certify::kTileCells / 64];
      std::fill(std::begin(words), std::end(words), 0xaaaaaaaaaaaaaaaa);
      reader.Read(q, begin, count, words);
      for (int64_t i = 0; i < (count + 63) / 64 * 64; ++i) {
        const bool expected = i < count && NaiveAt(mask, q, begin + i);
        ASSERT_EQ(words[i / 64] >> (i % 64) & 1, expected)
            << ToString(mask) << " at (" << q << ", " << begin + i << "), read from " << begin
            << ", kv_len " << shape.kv_len;
      }
    }
  }
}

Array Bools(int64_t rows, int64_t columns, uint64_t seed) {
  std::mt19937_64 random(seed);
  auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(rows * columns));
  // Any byte but 0 is true.
  for (uint8_t& byte : *bytes) byte = random() % 2 == 0 ? 0 : static_cast<uint8_t>(random());
  return Array(DType::kBool, {rows, columns}, std::shared_ptr<const void>(bytes, bytes->data()));
}

std::vector<Mask> AnalyticLeaves(Shape shape) {
  std::vector<Mask> leaves{Mask::Full(shape), Mask::Empty(shape)};
  for (int64_t offset : {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{63}, int64_t{64},
                         int64_t{-64}, int64_t{1000}, int64_t{-1000}, kMin, kMax}) {
    leaves.push_back(Mask::Causal(shape, offset));
    leaves.push_back(Mask::Local(shape, 3, 2, offset));
    leaves.push_back(Mask::Local(shape, kMax, std::nullopt, offset));
    leaves.push_back(Mask::Local(shape, std::nullopt, kMin, offset));
    leaves.push_back(Mask::Local(shape, kMin, kMax, offset));
    leaves.push_back(Mask::Prefix(shape, offset));
    leaves.push_back(Mask::KvRange(shape, offset, 70));
    leaves.push_back(Mask::KvRange(shape, 2, offset));
    leaves.push_back(Mask::QRange(shape, offset, 4));
    leaves.push_back(Mask::QRange(shape, 2, offset));
  }
  leaves.push_back(Mask::Local(shape, std::nullopt, std::nullopt));
  leaves.push_back(Mask::Local(shape, -3, 1));
  for (int64_t chunk : {int64_t{1}, int64_t{3}, int64_t{64}, int64_t{65}, kMax}) {
    leaves.push_back(Mask::ChunkedCausal(shape, chunk));
  }
  for (int64_t step : {1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 65, 66, 100, 127, 128, 129}) {
    leaves.push_back(Mask::Stride(shape, step, step / 2));
  }
  leaves.push_back(Mask::Stride(shape, kMax, 0));
  leaves.push_back(Mask::Stride(shape, kMax, kMax - 1));
  leaves.push_back(Mask::Documents(shape, std::vector<int64_t>()));
  leaves.push_back(Mask::Documents(shape, {0, 1, 0, 0, 2, 0}));
  return leaves;
}

std::vector<Mask> Predicates(Shape shape) {
  std::vector<Mask> leaves;
  for (const char* predicate :
       {"q >= kv and (q - kv) % 5 < 2", "abs(q // 8 - kv // 8) <= 1", "q // (kv * kv + 1) == 0",
        "kv % -7 == -(q % 3)", "min(q, kv) < 4 or max(q // 2, kv_len - q_len) == kv",
        "not (q != 3 and kv // (q - 3) * 2 > -kv)"}) {
    leaves.push_back(Mask::Where(shape, predicate));
  }
  return leaves;
}

std::vector<Mask> ArrayLeaves(Shape shape) {
  std::vector<int64_t> q_ids, kv_ids;
  for (int64_t i = 0; i < shape.q_len; ++i) q_ids.push_back(i % 3 - 1);
  for (int64_t i = 0; i < shape.kv_len; ++i) kv_ids.push_back(i / 5 % 4 - 1);
  const Array q = Array::FromVector(q_ids), kv = Array::FromVector(kv_ids);
  std::vector<Mask> leaves{Mask::Segments(shape, q, kv), Mask::Segments(shape, q, kv, 0),
                           Mask::Segments(shape, q, kv, kMin),
                           Mask::Dense(shape, Bools(shape.q_len, shape.kv_len, 1))};
  for (int64_t block : {1, 2, 3, 64, 1000}) {
    const int64_t rows = (shape.q_len - 1) / block + 1, columns = (shape.kv_len - 1) / block + 1;
    leaves.push_back(Mask::Blocks(shape, Bools(rows, columns, 2), block));
  }
  return leaves;
}

constexpr int64_t kWidths[] = {1, 2, 7, 8, 9, 62, 63, 64, 65, 66, 126, 127, 128, 129, 130, 200};

TEST(CertifyCellsTest, EveryLeafAtEveryWidth) {
  for (int64_t kv_len : kWidths) {
    for (int64_t q_len : {3, 24}) {
      const Shape shape{q_len, kv_len};
      for (const Mask& leaf : ArrayLeaves(shape))
        ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(leaf));
      for (const Mask& leaf : Predicates(shape)) {
        ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(leaf));
      }
      if (kv_len < 3) continue;  // For the documents.
      for (const Mask& leaf : AnalyticLeaves(shape)) {
        ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(leaf));
      }
    }
  }
}

TEST(CertifyCellsTest, PositionsAnywhere) {
  const std::vector<int64_t> anywhere{kMin, kMin + 1, -1000, -65,  -64,      -63,      -2,
                                      -1,   0,        1,     2,    5,        63,       64,
                                      65,   127,      128,   1000, 1L << 40, kMax - 1, kMax};
  for (int64_t kv_len : {3, 63, 64, 65, 129}) {
    const Shape shape{std::ssize(anywhere), kv_len};
    const Positions positions = Positions::FromArray(Array::FromVector(anywhere));
    for (const Mask& leaf : AnalyticLeaves(shape)) {
      ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(leaf.Reorder(positions)));
    }
  }
}

TEST(CertifyCellsTest, ColumnsAnywhere) {
  const std::vector<int64_t> anywhere{-kMostKvPosition,
                                      -1000,
                                      -65,
                                      -64,
                                      -63,
                                      -2,
                                      -1,
                                      0,
                                      1,
                                      2,
                                      5,
                                      63,
                                      64,
                                      65,
                                      127,
                                      128,
                                      1000,
                                      1L << 40,
                                      kMostKvPosition};
  std::vector<int64_t> stretches;
  for (int64_t i = 0; i < 150; ++i) stretches.push_back(i < 70 ? i + 3 : i < 140 ? 200 - i : i);
  for (const std::vector<int64_t>& kv : {anywhere, stretches}) {
    const Shape shape{5, std::ssize(kv)};
    const Positions columns = Positions::FromArray(Array::FromVector(kv));
    const Positions rows =
        Positions::FromArray(Array::FromVector(std::vector<int64_t>{4, 0, 9, -3, 2}));
    for (const Mask& leaf : AnalyticLeaves(shape)) {
      ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(leaf.Reorder(std::nullopt, columns)));
      const Mask inner = leaf.Reorder(rows, columns);
      ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(inner));
      const std::vector<int64_t> again(static_cast<size_t>(shape.kv_len), shape.kv_len / 2);
      ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(
          (inner ^ leaf).Reorder(std::nullopt, Positions::FromArray(Array::FromVector(again)))));
    }
  }
}

TEST(CertifyCellsTest, PermutedArrayLeaves) {
  for (int64_t kv_len : {63, 65, 128}) {
    const Shape shape{12, kv_len};
    for (const Mask& leaf : ArrayLeaves(shape)) {
      const std::vector<int32_t> backwards{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
      const Mask reversed = leaf.Reorder(Positions::FromArray(Array::FromVector(backwards)));
      ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(reversed));
      // A reordering inside a reordering, which no longer composes into one.
      ASSERT_NO_FATAL_FAILURE(
          ExpectWordsEqualCells((~reversed ^ leaf).Reorder(Positions::Zigzag(3))));
    }
  }
}

TEST(CertifyCellsTest, EveryOperator) {
  for (int64_t kv_len : {63, 64, 65, 129}) {
    const Shape shape{40, kv_len};
    const Mask a = Mask::Causal(shape, 20), b = Mask::Local(shape, 9, 30),
               c = Mask::Stride(shape, 3);
    for (const Mask& mask : {~a, a & b, a | b, a ^ b, a - b, ~(a - (b ^ c)), (a | b) & (c - a),
                             a ^ (b ^ (c ^ (a & (b | ~c))))}) {
      ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(mask));
    }
  }
}

TEST(CertifyCellsTest, DeepestExpression) {
  const Shape shape{2, 65};
  Mask right = Mask::Stride(shape, 2), left = right;
  for (int depth = 2; depth <= kMaxMaskDepth; ++depth) {
    right = Mask::Causal(shape, depth % 65) ^ right;
    left = left ^ Mask::Causal(shape, depth % 65);
  }
  const certify::CellProgram right_program(right), left_program(left);
  certify::CellReader right_reader(right_program), left_reader(left_program);
  for (int64_t q = 0; q < 2; ++q) {
    uint64_t a[2], b[2];
    right_reader.Read(q, 0, 65, a);
    left_reader.Read(q, 0, 65, b);
    for (int64_t kv = 0; kv < 65; ++kv) {
      ASSERT_EQ(a[kv / 64] >> (kv % 64) & 1, NaiveAt(right, q, kv));
      ASSERT_EQ(b[kv / 64] >> (kv % 64) & 1, NaiveAt(left, q, kv));
    }
  }
}

TEST(CertifyCellsTest, RandomExpressions) {
  for (uint64_t seed = 0; seed < SampleSize(250); ++seed) {
    std::mt19937_64 random(seed);
    const Shape shape{4 + static_cast<int64_t>(random() % 40),
                      kWidths[random() % std::size(kWidths)]};
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    ASSERT_NO_FATAL_FAILURE(ExpectWordsEqualCells(RandomMask(random, shape, 4)));
  }
}

TEST(CertifyCellsTest, TransposesBits) {
  std::mt19937_64 random(1);
  for (int64_t rows = 1; rows <= 33; ++rows) {
    for (int64_t columns : {1, 2, 7, 8, 9, 16, 31, 64, 65}) {
      PartialMaskBlocks block({1}, rows, columns), turned({1}, columns, rows);
      std::fill_n(block.data(), block.size_bytes(), std::byte{0});
      std::fill_n(turned.data(), turned.size_bytes(), std::byte{0xff});
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) {
          if (random() % 2 == 0) block.Flip(0, r, c);
        }
      }
      certify::TransposeBits(block.data(), rows, columns, turned.data());
      for (int64_t c = 0; c < columns; ++c) {
        for (int64_t r = 0; r < turned.row_bytes() * 8; ++r) {
          ASSERT_EQ(turned.At(0, c, r), r < rows && block.At(0, r, c)) << rows << " x " << columns;
        }
      }
    }
  }
}

}  // namespace
}  // namespace splashmask
