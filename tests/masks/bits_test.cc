// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/bits.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <random>
#include <vector>

namespace splashmask {
namespace {

bool Bit(const uint64_t* row, int64_t i) { return (row[i / 64] >> (i % 64)) & 1; }

std::vector<uint64_t> RandomRows(std::mt19937_64& random, int64_t rows, int64_t columns) {
  std::vector<uint64_t> words(static_cast<size_t>(rows * WordsFor(columns)));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      words[r * WordsFor(columns) + c / 64] |= (random() % 2) << (c % 64);
    }
  }
  return words;
}

constexpr int64_t kWidths[] = {1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200};

TEST(BitsTest, SetBitsSetsThoseAndNoOthers) {
  for (int64_t begin = 0; begin < 200; ++begin) {
    for (int64_t end = begin + 1; end <= 200; ++end) {
      uint64_t row[4] = {};
      SetBits(row, begin, end);
      for (int64_t i = 0; i < 256; ++i) ASSERT_EQ(begin <= i && i < end, Bit(row, i));
    }
  }
}

TEST(BitsTest, FillAndFlipLeaveThePaddingAlone) {
  for (int64_t count : kWidths) {
    uint64_t row[4] = {~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}};
    FillRow(row, count, true);
    for (int64_t i = 0; i < 64 * WordsFor(count); ++i) ASSERT_EQ(i < count, Bit(row, i));
    FlipBits(row, count);
    for (int64_t i = 0; i < 64 * WordsFor(count); ++i) ASSERT_FALSE(Bit(row, i));
    FlipBits(row, count);
    FillRow(row, count, false);
    for (int64_t i = 0; i < 64 * WordsFor(count); ++i) ASSERT_FALSE(Bit(row, i));
  }
}

TEST(BitsTest, TestBitsSeesOneOddBitAnywhere) {
  for (int64_t columns : kWidths) {
    const int64_t words = WordsFor(columns);
    // Padding is all ones for `any` and all zeros for `all`: it must count for neither.
    std::vector<uint64_t> zeros(static_cast<size_t>(3 * words)), ones(zeros.size(), ~uint64_t{0});
    const uint64_t pad = columns % 64 == 0 ? 0 : ~uint64_t{0} << (columns % 64);
    for (int64_t r = 0; r < 3; ++r) {
      zeros[r * words + words - 1] |= pad;
      ones[r * words + words - 1] &= ~pad;
    }
    EXPECT_FALSE(TestBits({zeros.data(), words}, 3, columns).any);
    EXPECT_TRUE(TestBits({ones.data(), words}, 3, columns).all);
    for (int64_t i = 0; i < 3 * columns; ++i) {
      const int64_t word = i / columns * words + i % columns / 64;
      const uint64_t bit = uint64_t{1} << (i % columns % 64);
      zeros[word] ^= bit;
      ones[word] ^= bit;
      ASSERT_TRUE(TestBits({zeros.data(), words}, 3, columns).any);
      ASSERT_FALSE(TestBits({ones.data(), words}, 3, columns).all);
      zeros[word] ^= bit;
      ones[word] ^= bit;
    }
  }
}

TEST(BitsTest, TransposeMovesEveryBit) {
  std::mt19937_64 random(7);
  for (int64_t rows : kWidths) {
    for (int64_t columns : kWidths) {
      std::vector<uint64_t> in = RandomRows(random, rows, columns);
      std::vector<uint64_t> out(static_cast<size_t>(columns * WordsFor(rows)), ~uint64_t{0});
      const BitRows from{in.data(), WordsFor(columns)}, to{out.data(), WordsFor(rows)};
      TransposeBits(from, rows, columns, to);
      for (int64_t c = 0; c < columns; ++c) {
        for (int64_t r = 0; r < 64 * WordsFor(rows); ++r) {
          ASSERT_EQ(r < rows && Bit(from.row(r), c), Bit(to.row(c), r));
        }
      }
    }
  }
}

TEST(BitsTest, StorePackedKeepsBytesInOrder) {
  std::mt19937_64 random(8);
  for (int64_t columns : kWidths) {
    std::vector<uint64_t> in = RandomRows(random, 5, columns);
    const int64_t bytes = (columns + 7) / 8;
    std::vector<std::byte> out(static_cast<size_t>(5 * bytes));
    StorePacked({in.data(), WordsFor(columns)}, 5, columns, out.data());
    for (int64_t i = 0; i < 5 * columns; ++i) {
      const std::byte byte = out[i / columns * bytes + i % columns / 8];
      ASSERT_EQ(Bit(in.data() + i / columns * WordsFor(columns), i % columns),
                ((byte >> (i % columns % 8)) & std::byte{1}) != std::byte{0});
    }
  }
}

// Every SIMD target that this machine has, by name.
TEST(BitsTest, PackBoolsOnEveryTarget) {
  std::mt19937_64 random(9);
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    for (int64_t count = 1; count <= 300; ++count) {
      std::vector<std::byte> bools(static_cast<size_t>(count));
      for (std::byte& b : bools) b = std::byte(random() % 2 * (1 + random() % 255));
      std::vector<uint64_t> row(static_cast<size_t>(WordsFor(count)), ~uint64_t{0});
      PackBools(bools.data(), count, row.data());
      for (int64_t i = 0; i < 64 * WordsFor(count); ++i) {
        ASSERT_EQ(i < count && bools[i] != std::byte{0}, Bit(row.data(), i))
            << hwy::TargetName(target) << " count " << count << " bit " << i;
      }
    }
  }
  hwy::SetSupportedTargetsForTest(0);
}

}  // namespace
}  // namespace splashmask
