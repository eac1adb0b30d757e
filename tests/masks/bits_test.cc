// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/bits.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <random>
#include <vector>

#include "tests/support/uniform.h"

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

// Calls `test` once for each SIMD target that this machine has.
template <typename Test>
void OnEveryTarget(const Test& test) {
  for (int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    test();
  }
  hwy::SetSupportedTargetsForTest(0);
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

TEST(BitsTest, TestBitsSeesOneOddBitInAnyVector) {
  constexpr int64_t kColumns = 64 * 19 + 5, kWords = WordsFor(kColumns);
  OnEveryTarget([] {
    std::vector<uint64_t> zeros(2 * kWords), ones(2 * kWords, ~uint64_t{0});
    for (int64_t i = 0; i < 2 * kColumns; i += 3) {
      const int64_t word = i / kColumns * kWords + i % kColumns / 64;
      const uint64_t bit = uint64_t{1} << (i % kColumns % 64);
      zeros[word] ^= bit;
      ones[word] ^= bit;
      ASSERT_TRUE(TestBits({zeros.data(), kWords}, 2, kColumns).any);
      ASSERT_FALSE(TestBits({zeros.data(), kWords}, 2, kColumns).all);
      ASSERT_FALSE(TestBits({ones.data(), kWords}, 2, kColumns).all);
      ASSERT_TRUE(TestBits({ones.data(), kWords}, 2, kColumns).any);
      zeros[word] ^= bit;
      ones[word] ^= bit;
    }
  });
}

TEST(BitsTest, TestBitsOfBlocksSideBySide) {
  OnEveryTarget([] {
    for (int64_t columns : {64, 192, 512, 576}) {
      constexpr int64_t kBlocks = 5;
      const int64_t words = WordsFor(columns), stride = kBlocks * words;
      std::vector<uint64_t> bits(static_cast<size_t>(3 * stride));
      for (int64_t r = 0; r < 3; ++r) {
        std::fill_n(bits.begin() + r * stride + words, words, ~uint64_t{0});
        std::fill_n(bits.begin() + r * stride + 4 * words, words, ~uint64_t{0});
      }
      bits[2 * stride + 3 * words - 1] = uint64_t{1} << 63;  // In block 2.
      bits[4 * words] -= 1;                                  // In block 4.
      AnyAll found[kBlocks];
      TestBits({bits.data(), stride}, 3, columns, kBlocks, found);
      const bool any[kBlocks] = {false, true, true, false, true};
      for (int64_t i = 0; i < kBlocks; ++i) {
        ASSERT_EQ(any[i], found[i].any) << columns << " block " << i;
        ASSERT_EQ(i == 1, found[i].all) << columns << " block " << i;
      }
    }
  });
}

TEST(BitsTest, DrawIntervalsSetsThoseAndNoOthers) {
  OnEveryTarget([] {
    std::mt19937_64 random(6);
    for (int64_t columns : {1, 63, 64, 65, 127, 128, 300, 512, 700, 1024 + 65}) {
      constexpr int64_t kRows = 70;
      int64_t begins[kRows], ends[kRows];
      for (int64_t r = 0; r < kRows; ++r) {
        begins[r] = static_cast<int64_t>(random() % static_cast<uint64_t>(columns + 1));
        ends[r] = static_cast<int64_t>(random() % static_cast<uint64_t>(columns + 1));
        if (r % 7 == 0) begins[r] = 0;
        if (r % 5 == 0) ends[r] = columns;
        if (r % 11 == 0) begins[r] = begins[r] / 64 * 64;
        if (r % 13 == 0) ends[r] = ends[r] / 64 * 64;
      }
      const int64_t stride = WordsFor(columns) + 1;  // The word between two rows is nobody's.
      std::vector<uint64_t> words(static_cast<size_t>(kRows * stride), 0x5A5A5A5A5A5A5A5A);
      DrawIntervals(begins, ends, kRows, columns, {words.data(), stride});
      for (int64_t r = 0; r < kRows; ++r) {
        const uint64_t* row = words.data() + r * stride;
        for (int64_t c = 0; c < 64 * WordsFor(columns); ++c) {
          ASSERT_EQ(begins[r] <= c && c < ends[r], Bit(row, c))
              << columns << " columns, [" << begins[r] << ", " << ends[r] << "), bit " << c;
        }
        ASSERT_EQ(0x5A5A5A5A5A5A5A5A, row[stride - 1]);
      }
    }
  });
}

void CheckTransposed(const std::vector<uint64_t>& in, int64_t rows, int64_t columns) {
  std::vector<uint64_t> from_words = in;
  std::vector<uint64_t> out(static_cast<size_t>(columns * WordsFor(rows)), 0x5A5A5A5A5A5A5A5A);
  const BitRows from{from_words.data(), WordsFor(columns)}, to{out.data(), WordsFor(rows)};
  TransposeBits(from, rows, columns, to);
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < 64 * WordsFor(rows); ++r) {
      ASSERT_EQ(r < rows && Bit(from.row(r), c), Bit(to.row(c), r));
    }
  }
}

TEST(BitsTest, TransposeMovesEveryBit) {
  OnEveryTarget([&] {
    std::mt19937_64 random(7);
    const auto check = [&](int64_t rows, int64_t columns) {
      CheckTransposed(RandomRows(random, rows, columns), rows, columns);
    };
    for (int64_t rows : kWidths) {
      for (int64_t columns : kWidths) check(rows, columns);
    }
    check(70, 512);
    check(64, 512 + 65);
    check(130, 1024 + 1);
  });
}

// Squares of 64 x 64 bits that are all alike are filled in, the others moved.
TEST(BitsTest, TransposeOfSquaresThatAreMostlyAlike) {
  OnEveryTarget([&] {
    std::mt19937_64 random(8);
    for (int i = 0; i < 60; ++i) {
      const int64_t high = Uniform(random, 1, 10), wide = Uniform(random, 1, 10);
      const int64_t one_in = Uniform(random, 1, 12);  // Is mixed.
      std::vector<uint64_t> in(static_cast<size_t>(64 * high * wide));
      for (int64_t square = 0; square < high * wide; ++square) {
        const bool is_mixed = Uniform(random, 1, one_in) == 1;
        const uint64_t word = Uniform(random, 0, 1) == 0 ? 0 : ~uint64_t{0};
        const int64_t flipped = Uniform(random, 0, 63);
        for (int64_t r = 0; r < 64; ++r) {
          uint64_t& out = in[static_cast<size_t>((square / wide * 64 + r) * wide + square % wide)];
          out = word;
          if (!is_mixed) continue;
          // Random bits, or a single one that differs.
          if (i % 2 == 0) out = random();
          if (i % 2 == 1 && r == flipped) out ^= uint64_t{1} << Uniform(random, 0, 63);
        }
      }
      CheckTransposed(in, 64 * high, 64 * wide);
    }
  });
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

TEST(BitsTest, PackBoolsOnEveryTarget) {
  OnEveryTarget([] {
    std::mt19937_64 random(9);
    for (int64_t count = 1; count <= 300; ++count) {
      std::vector<std::byte> bools(static_cast<size_t>(count));
      for (std::byte& b : bools) b = std::byte(random() % 2 * (1 + random() % 255));
      std::vector<uint64_t> row(static_cast<size_t>(WordsFor(count)), ~uint64_t{0});
      PackBools(bools.data(), count, row.data());
      for (int64_t i = 0; i < 64 * WordsFor(count); ++i) {
        ASSERT_EQ(i < count && bools[i] != std::byte{0}, Bit(row.data(), i))
            << "count " << count << " bit " << i;
      }
    }
  });
}

}  // namespace
}  // namespace splashmask
