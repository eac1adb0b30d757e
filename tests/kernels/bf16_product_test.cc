// SPDX-License-Identifier: Apache-2.0
// Products of pairs of bfloat16 numbers against float64, where the CPU has them.

#include "splashmask/kernels/fast/bf16_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "splashmask/kernels/tensor.h"

#if defined(__x86_64__)

namespace splashmask::fast {
namespace {

constexpr int64_t kWidth = 32;

// Numbers aligned as panels are.
template <typename T>
class Aligned {
 public:
  explicit Aligned(int64_t count)
      : data_(new (std::align_val_t{64}) T[static_cast<size_t>(count)]) {}
  T* get() { return data_.get(); }
  T& operator[](int64_t i) { return data_.get()[i]; }

 private:
  struct Delete {
    void operator()(T* data) const { ::operator delete[](data, std::align_val_t{64}); }
  };
  std::unique_ptr<T[], Delete> data_;
};

class Bf16ProductTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!HasBf16Products()) GTEST_SKIP() << "this CPU has no AVX-512-BF16";
  }

  uint16_t Draw() { return ToBFloat16(normal_(random_)); }

  std::mt19937 random_{5};
  std::normal_distribution<float> normal_;
};

double Half(uint32_t pair, int which) {
  return static_cast<double>(FromBFloat16(static_cast<uint16_t>(which == 0 ? pair : pair >> 16)));
}

TEST_F(Bf16ProductTest, EveryNumberOfRowsAndPairs) {
  for (int64_t rows = 0; rows <= 29; ++rows) {
    for (const int64_t count : {0, 1, 2, 7, 64}) {
      for (const bool scaled : {false, true}) {
        // Rows of pairs that lie further apart than they are long, and at odd addresses.
        const int64_t a_row = 2 * count + 3, a_k = 2;
        std::vector<uint16_t> a(static_cast<size_t>(rows * a_row + 1));
        for (uint16_t& number : a) number = Draw();
        Aligned<uint32_t> panel(count * kWidth);
        for (int64_t i = 0; i < count * kWidth; ++i) {
          panel[i] = Draw() | static_cast<uint32_t>(Draw()) << 16;
        }
        // Rows of the output that lie further apart than they are long.
        const int64_t out_row = (1 + rows % 2) * kWidth;
        Aligned<float> out((rows + 1) * out_row), scale(kWidth);
        std::vector<float> before;
        for (int64_t i = 0; i < (rows + 1) * out_row; ++i) {
          before.push_back(out[i] = normal_(random_));
        }
        for (int64_t i = 0; i < kWidth; ++i) scale[i] = normal_(random_);
        Bf16Product(a.data() + 1, a_row, a_k, rows, panel.get(), count,
                    scaled ? scale.get() : nullptr, out.get(), out_row);
        for (int64_t i = 0; i < (rows + 1) * out_row; ++i) {
          const int64_t row = i % out_row < kWidth ? i / out_row : rows, lane = i % kWidth;
          const double old = static_cast<double>(before[static_cast<size_t>(i)]);
          double expected = scaled ? old * static_cast<double>(scale[lane]) : 0;
          for (int64_t k = 0; row < rows && k < count; ++k) {
            for (int which = 0; which < 2; ++which) {
              const uint16_t number = a[static_cast<size_t>(1 + row * a_row + k * a_k + which)];
              expected += Half(number, 0) * Half(panel[k * kWidth + lane], which);
            }
          }
          if (row == rows) expected = old;  // Beyond the last row nothing is written.
          ASSERT_NEAR(expected, static_cast<double>(out[i]), 2e-5)
              << rows << " rows, " << count << " pairs, row " << row << ", lane " << lane;
        }
      }
    }
  }
}

TEST_F(Bf16ProductTest, PairsRows) {
  for (int64_t dim = 0; dim <= 70; ++dim) {
    std::vector<uint16_t> first, second;
    for (int64_t d = 0; d < dim; ++d) {
      first.push_back(static_cast<uint16_t>(random_()));
      second.push_back(static_cast<uint16_t>(random_()));
    }
    std::vector<uint32_t> out(static_cast<size_t>(dim) + 1, 77);
    PairRows(first.data(), second.data(), dim, out.data());
    for (size_t d = 0; d < first.size(); ++d) {
      ASSERT_EQ(first[d] | static_cast<uint32_t>(second[d]) << 16, out[d]);
    }
    EXPECT_EQ(77u, out.back());
  }
}

TEST_F(Bf16ProductTest, RoundsAsToBFloat16Does) {
  constexpr int64_t kCount = 6;
  for (int attempt = 0; attempt < 2000; ++attempt) {
    Aligned<float> rows(kCount * kWidth);
    std::vector<float> before;
    for (int64_t i = 0; i < kCount * kWidth; ++i) {
      // Any float but NaN, which has many forms, and what the instruction takes for 0.
      do {
        rows[i] = std::bit_cast<float>(static_cast<uint32_t>(random_()));
      } while (std::isnan(rows[i]) || std::fpclassify(rows[i]) == FP_SUBNORMAL);
      if (i % 5 == 0) rows[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(rows[i]) | 0x8000u);
      if (i % 10 == 0)
        rows[i] = std::bit_cast<float>(std::bit_cast<uint32_t>(rows[i]) & 0xFFFF8000u);
      if (std::isnan(rows[i]) || std::fpclassify(rows[i]) == FP_SUBNORMAL) rows[i] = 0;
      before.push_back(rows[i]);
    }
    std::vector<uint16_t> numbers(kCount * kWidth);
    RoundToBf16(rows.get(), kCount * kWidth, numbers.data());
    // Rows apart, and in place.
    Aligned<float> apart(kCount * 2 * kWidth);
    for (int64_t i = 0; i < kCount * kWidth; ++i) apart[i + i / kWidth * kWidth] = rows[i];
    Aligned<uint32_t> pairs(kCount / 2 * kWidth);
    RoundToPairs(apart.get(), 2 * kWidth, kCount, pairs.get());
    RoundToPairs(rows.get(), kWidth, kCount, reinterpret_cast<uint32_t*>(rows.get()));
    for (int64_t i = 0; i < kCount * kWidth; ++i) {
      const int64_t row = i / kWidth, lane = i % kWidth;
      const uint16_t expected = ToBFloat16(before[static_cast<size_t>(i)]);
      ASSERT_EQ(expected, numbers[static_cast<size_t>(i)]) << before[static_cast<size_t>(i)];
      for (const uint32_t pair : {pairs[row / 2 * kWidth + lane],
                                  std::bit_cast<uint32_t>(rows[row / 2 * kWidth + lane])}) {
        ASSERT_EQ(expected, row % 2 == 0 ? pair & 0xFFFF : pair >> 16)
            << before[static_cast<size_t>(i)];
      }
    }
  }
}

}  // namespace
}  // namespace splashmask::fast

#endif
