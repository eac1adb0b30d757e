// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/bf16_product.h"

#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__GNUC__) && !defined(__clang__)  // GCC 12, of its own intrinsics.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// On every function here: the rest of the library does not assume the instructions.
#define SPLASHMASK_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512bf16")))

namespace splashmask::fast {

namespace {

constexpr int64_t kWidth = 32, kLanes = 16;
constexpr int kRows = 12;  // As many sums as the registers hold, two a row.

SPLASHMASK_AVX512_BF16 inline __m512bh Broadcast(const uint16_t* pair) {
  int32_t bits;
  std::memcpy(&bits, pair, sizeof(bits));
  return (__m512bh)_mm512_set1_epi32(bits);
}

SPLASHMASK_AVX512_BF16 inline __m512bh LoadPairs(const uint32_t* pairs) {
  return (__m512bh)_mm512_load_si512(pairs);
}

template <int kCount>
SPLASHMASK_AVX512_BF16 inline void ProductRows(const uint16_t* __restrict a, int64_t a_row,
                                               int64_t a_k, const uint32_t* __restrict panel,
                                               int64_t count, const float* scale,
                                               float* __restrict out, int64_t out_row) {
  __m512 left[kCount], right[kCount];
#pragma GCC unroll 12
  for (int row = 0; row < kCount; ++row) {
    left[row] = right[row] = _mm512_setzero_ps();
    if (scale == nullptr) continue;
    left[row] = _mm512_mul_ps(_mm512_load_ps(out + row * out_row), _mm512_load_ps(scale));
    right[row] =
        _mm512_mul_ps(_mm512_load_ps(out + row * out_row + kLanes), _mm512_load_ps(scale + kLanes));
  }
  // A pointer for every three rows, which x86 reaches as p, p + s and p + 2 s: a pointer for each
  // row would not fit in the registers.
  const uint16_t* rows[(kCount + 2) / 3];
#pragma GCC unroll 4
  for (int i = 0; i < (kCount + 2) / 3; ++i) rows[i] = a + 3 * i * a_row;
  for (int64_t k = 0; k < count; ++k) {
    const __m512bh b0 = LoadPairs(panel), b1 = LoadPairs(panel + kLanes);
#pragma GCC unroll 12
    for (int row = 0; row < kCount; ++row) {
      const __m512bh factor = Broadcast(rows[row / 3] + row % 3 * a_row);
      left[row] = _mm512_dpbf16_ps(left[row], factor, b0);
      right[row] = _mm512_dpbf16_ps(right[row], factor, b1);
    }
    panel += kWidth;
#pragma GCC unroll 4
    for (int i = 0; i < (kCount + 2) / 3; ++i) rows[i] += a_k;
  }
#pragma GCC unroll 12
  for (int row = 0; row < kCount; ++row) {
    _mm512_store_ps(out + row * out_row, left[row]);
    _mm512_store_ps(out + row * out_row + kLanes, right[row]);
  }
}

}  // namespace

bool HasBf16Products() {
  static const bool has =
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16");
  return has;
}

SPLASHMASK_AVX512_BF16 void Bf16Product(const uint16_t* a, int64_t a_row, int64_t a_k, int64_t rows,
                                        const uint32_t* panel, int64_t count, const float* scale,
                                        float* out, int64_t out_row) {
  int64_t row = 0;
  const auto advance = [&]<int kCount>(std::integral_constant<int, kCount>) SPLASHMASK_AVX512_BF16 {
    for (; row + kCount <= rows; row += kCount) {
      ProductRows<kCount>(a + row * a_row, a_row, a_k, panel, count, scale, out + row * out_row,
                          out_row);
    }
  };
  advance(std::integral_constant<int, kRows>());
  advance(std::integral_constant<int, 8>());
  advance(std::integral_constant<int, 4>());
  advance(std::integral_constant<int, 1>());
}

SPLASHMASK_AVX512_BF16 void PairRows(const uint16_t* first, const uint16_t* second, int64_t dim,
                                     uint32_t* out) {
  int64_t d = 0;
  for (; d + kLanes <= dim; d += kLanes) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(first + d)));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)(second + d)));
    _mm512_storeu_si512(out + d, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
  for (; d < dim; ++d) out[d] = first[d] | static_cast<uint32_t>(second[d]) << 16;
}

SPLASHMASK_AVX512_BF16 void RoundToPairs(const float* rows, int64_t row, int64_t count,
                                         uint32_t* out) {
  for (int64_t i = 0; i < count; i += 2, out += kWidth) {
    for (int64_t at = 0; at < kWidth; at += kLanes) {
      const float* const in = rows + i * row + at;
      const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(in)));
      const __m512i high =
          _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(in + row)));
      _mm512_store_si512(out + at, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

SPLASHMASK_AVX512_BF16 void RoundToBf16(const float* in, int64_t count, uint16_t* out) {
  for (int64_t i = 0; i < count; i += kLanes) {
    _mm256_storeu_si256((__m256i*)(out + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(in + i)));
  }
}

}  // namespace splashmask::fast

#else

namespace splashmask::fast {

bool HasBf16Products() { return false; }

}  // namespace splashmask::fast

#endif  // __x86_64__
