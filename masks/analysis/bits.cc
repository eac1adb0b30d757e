// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/bits.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/masks/analysis/bits.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace splashmask {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void PackBools(const std::byte* bools, int64_t count, uint64_t* row) {
  const hn::ScalableTag<uint8_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto* in = reinterpret_cast<const uint8_t*>(bools);
  auto* out = reinterpret_cast<uint8_t*>(row);
  const auto zero = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreMaskBits(d, hn::Ne(hn::LoadU(d, in + i), zero), out + i / 8);
  }
  const int64_t bytes = (count + 63) / 64 * 8;
  std::memset(out + i / 8, 0, static_cast<size_t>(bytes - i / 8));
  for (; i < count; ++i) out[i / 8] = static_cast<uint8_t>(out[i / 8] | (in[i] != 0) << (i % 8));
}

}  // namespace HWY_NAMESPACE
}  // namespace splashmask
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask {

HWY_EXPORT(PackBools);

void PackBools(const std::byte* bools, int64_t count, uint64_t* row) {
  HWY_DYNAMIC_DISPATCH(PackBools)(bools, count, row);
}

void SetBits(uint64_t* row, int64_t begin, int64_t end) {
  const int64_t first = begin / 64, last = (end - 1) / 64;
  const uint64_t head = ~uint64_t{0} << (begin % 64);
  const uint64_t tail = ~uint64_t{0} >> (63 - (end - 1) % 64);
  if (first == last) {
    row[first] |= head & tail;
    return;
  }
  row[first] |= head;
  for (int64_t word = first + 1; word < last; ++word) row[word] = ~uint64_t{0};
  row[last] |= tail;
}

void FillRow(uint64_t* row, int64_t count, bool value) {
  std::fill_n(row, WordsFor(count), value ? ~uint64_t{0} : 0);
  if (value && count % 64 != 0) row[count / 64] = (uint64_t{1} << (count % 64)) - 1;
}

void AndWords(uint64_t* row, const uint64_t* other, int64_t words) {
  for (int64_t w = 0; w < words; ++w) row[w] &= other[w];
}
void OrWords(uint64_t* row, const uint64_t* other, int64_t words) {
  for (int64_t w = 0; w < words; ++w) row[w] |= other[w];
}
void XorWords(uint64_t* row, const uint64_t* other, int64_t words) {
  for (int64_t w = 0; w < words; ++w) row[w] ^= other[w];
}
void AndNotWords(uint64_t* row, const uint64_t* other, int64_t words) {
  for (int64_t w = 0; w < words; ++w) row[w] &= ~other[w];
}

void OrShifted(const uint64_t* bits, int64_t count, int64_t at, uint64_t* row) {
  row += at / 64;
  const int64_t shift = at % 64;
  for (int64_t w = 0; w < WordsFor(count); ++w) {
    row[w] |= bits[w] << shift;
    // The last word may end before the next one of the row begins, which then need not exist.
    if (shift != 0 && bits[w] >> (64 - shift) != 0) row[w + 1] |= bits[w] >> (64 - shift);
  }
}

void ReverseBits(uint64_t* row, int64_t count) {
  const int64_t words = WordsFor(count);
  std::reverse(row, row + words);
  const auto reverse_word = [](uint64_t word) {
    word = (word & 0x5555555555555555) << 1 | (word >> 1 & 0x5555555555555555);
    word = (word & 0x3333333333333333) << 2 | (word >> 2 & 0x3333333333333333);
    word = (word & 0x0f0f0f0f0f0f0f0f) << 4 | (word >> 4 & 0x0f0f0f0f0f0f0f0f);
    return __builtin_bswap64(word);
  };
  for (int64_t w = 0; w < words; ++w) row[w] = reverse_word(row[w]);
  const int64_t spare = words * 64 - count;  // Now at the front.
  if (spare == 0) return;
  for (int64_t w = 0; w < words; ++w) {
    row[w] = row[w] >> spare | (w + 1 < words ? row[w + 1] << (64 - spare) : 0);
  }
}

void FlipBits(uint64_t* row, int64_t count) {
  for (int64_t w = 0; w < count / 64; ++w) row[w] = ~row[w];
  if (count % 64 != 0) row[count / 64] ^= (uint64_t{1} << (count % 64)) - 1;
}

AnyAll TestBits(BitRows bits, int64_t rows, int64_t count) {
  const int64_t whole = count / 64;
  const uint64_t rest = count % 64 != 0 ? (uint64_t{1} << (count % 64)) - 1 : 0;
  uint64_t any = 0, all = ~uint64_t{0};
  for (int64_t r = 0; r < rows; ++r) {
    const uint64_t* row = bits.row(r);
    for (int64_t w = 0; w < whole; ++w) {
      any |= row[w];
      all &= row[w];
    }
    if (rest != 0) {
      any |= row[whole] & rest;
      all &= row[whole] | ~rest;
    }
    if (any != 0 && all != ~uint64_t{0}) break;  // Settled: it is partial.
  }
  return {any != 0, all == ~uint64_t{0}};
}

namespace {

// Transposes 64 x 64 bits in place: swaps ever smaller off-diagonal squares (Hacker's Delight, 7-3,
// widened to 64 bits).
void Transpose64(uint64_t (&a)[64]) {
  uint64_t mask = 0x00000000FFFFFFFF;
  for (int j = 32; j != 0; j >>= 1, mask ^= mask << j) {
    for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
      const uint64_t swap = ((a[k] >> j) ^ a[k | j]) & mask;
      a[k] ^= swap << j;
      a[k | j] ^= swap;
    }
  }
}

}  // namespace

void TransposeBits(BitRows in, int64_t rows, int64_t columns, BitRows out) {
  for (int64_t r0 = 0; r0 < rows; r0 += 64) {
    const int64_t height = std::min<int64_t>(64, rows - r0);
    for (int64_t c0 = 0; c0 < columns; c0 += 64) {
      uint64_t tile[64] = {};
      for (int64_t r = 0; r < height; ++r) tile[r] = in.row(r0 + r)[c0 / 64];
      Transpose64(tile);
      const int64_t width = std::min<int64_t>(64, columns - c0);
      for (int64_t c = 0; c < width; ++c) out.row(c0 + c)[r0 / 64] = tile[c];
    }
  }
}

void StorePacked(BitRows in, int64_t rows, int64_t columns, std::byte* out) {
  const int64_t bytes = (columns + 7) / 8;
  if (in.stride * 8 == bytes) {
    std::memcpy(out, in.words, static_cast<size_t>(rows * bytes));
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(out + r * bytes, in.row(r), static_cast<size_t>(bytes));
  }
}

}  // namespace splashmask
#endif  // HWY_ONCE
