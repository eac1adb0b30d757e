// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/bits.h"

#include <algorithm>
#include <cstring>
#include <vector>

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

// The bits below `end` of words whose first bits are at `first`.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V BitsBelow(D d, V end, V first) {
  const V one = hn::Set(d, 1), last = hn::Set(d, 63);
  const V bit = hn::Max(hn::Sub(end, first), hn::Zero(d));
  const V bits = hn::Sub(hn::Shl(one, hn::Min(bit, last)), one);
  return hn::IfThenElse(hn::Gt(bit, last), hn::Set(d, -1), bits);
}

// The words [first, last) of a row; as many as there are lanes, or a multiple.
template <class D>
HWY_INLINE void DrawInterval(D d, hn::Vec<D> lane_bits, int64_t begin, int64_t end, int64_t first,
                             int64_t last, uint64_t* row) {
  const auto from = hn::Set(d, begin), to = hn::Set(d, end);
  for (int64_t w = first; w < last; w += static_cast<int64_t>(hn::Lanes(d))) {
    const auto at = hn::Add(lane_bits, hn::Set(d, 64 * w));
    const auto bits = hn::AndNot(BitsBelow(d, from, at), BitsBelow(d, to, at));
    hn::StoreU(bits, d, reinterpret_cast<int64_t*>(row) + w);
  }
}

void DrawIntervals(const int64_t* begins, const int64_t* ends, int64_t rows, int64_t columns,
                   BitRows out) {
  const hn::ScalableTag<int64_t> d;
  const hn::CappedTag<int64_t, 1> one;
  const auto lane_bits = hn::ShiftLeft<6>(hn::Iota(d, 0));
  const int64_t words = WordsFor(columns);
  const int64_t whole = words - words % static_cast<int64_t>(hn::Lanes(d));
  for (int64_t r = 0; r < rows; ++r) {
    uint64_t* row = out.row(r);
    DrawInterval(d, lane_bits, begins[r], ends[r], 0, whole, row);
    DrawInterval(one, hn::Zero(one), begins[r], ends[r], whole, words, row);
  }
}

HWY_INLINE AnyAll TestOne(BitRows bits, int64_t rows, int64_t count) {
  const hn::ScalableTag<uint64_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = count / 64, in_vectors = whole - whole % lanes;
  const uint64_t rest = count % 64 != 0 ? (uint64_t{1} << (count % 64)) - 1 : 0;
  auto any = hn::Zero(d), all = hn::Set(d, ~uint64_t{0});
  uint64_t any_word = 0, all_word = ~uint64_t{0};
  for (int64_t r = 0; r < rows; ++r) {
    const uint64_t* row = bits.row(r);
    for (int64_t w = 0; w < in_vectors; w += lanes) {
      const auto words = hn::LoadU(d, row + w);
      any = hn::Or(any, words);
      all = hn::And(all, words);
    }
    for (int64_t w = in_vectors; w < whole; ++w) {
      any_word |= row[w];
      all_word &= row[w];
    }
    if (rest != 0) {
      any_word |= row[whole] & rest;
      all_word &= row[whole] | ~rest;
    }
  }
  return {any_word != 0 || !hn::AllTrue(d, hn::Eq(any, hn::Zero(d))),
          all_word == ~uint64_t{0} && hn::AllTrue(d, hn::Eq(all, hn::Set(d, ~uint64_t{0})))};
}

void TestBits(BitRows bits, int64_t rows, int64_t count, int64_t blocks, AnyAll* found) {
  for (int64_t i = 0; i < blocks; ++i) {
    found[i] = TestOne({bits.words + i * WordsFor(count), bits.stride}, rows, count);
  }
}

// Swaps the off-diagonal squares of 2 x 2 squares of kWidth x kWidth bits (Hacker's Delight, 7-3).
template <int kWidth, class V>
HWY_INLINE void SwapSquares(V& upper, V& lower, V mask) {
  const V swap = hn::And(hn::Xor(hn::ShiftRight<kWidth>(upper), lower), mask);
  upper = hn::Xor(upper, hn::ShiftLeft<kWidth>(swap));
  lower = hn::Xor(lower, swap);
}

// Three of the six steps that transpose 64 x 64 bits, among eight rows that lie `kStep` apart.
template <int kStep, class D>
HWY_INLINE void SwapEight(D d, uint64_t* rows) {
  constexpr uint64_t kMasks[] = {0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F,
                                 0x00FF00FF00FF00FF, 0x0000FFFF0000FFFF, 0x00000000FFFFFFFF};
  constexpr int kFirst = kStep == 8 ? 3 : 0;
  const size_t lanes = hn::Lanes(d);
  const auto small = hn::Set(d, kMasks[kFirst]), middle = hn::Set(d, kMasks[kFirst + 1]),
             large = hn::Set(d, kMasks[kFirst + 2]);
  const auto at = [&](int i) { return rows + static_cast<size_t>(i * kStep) * lanes; };
  auto r0 = hn::Load(d, at(0)), r1 = hn::Load(d, at(1)), r2 = hn::Load(d, at(2)),
       r3 = hn::Load(d, at(3)), r4 = hn::Load(d, at(4)), r5 = hn::Load(d, at(5)),
       r6 = hn::Load(d, at(6)), r7 = hn::Load(d, at(7));
  SwapSquares<4 * kStep>(r0, r4, large);
  SwapSquares<4 * kStep>(r1, r5, large);
  SwapSquares<4 * kStep>(r2, r6, large);
  SwapSquares<4 * kStep>(r3, r7, large);
  SwapSquares<2 * kStep>(r0, r2, middle);
  SwapSquares<2 * kStep>(r1, r3, middle);
  SwapSquares<2 * kStep>(r4, r6, middle);
  SwapSquares<2 * kStep>(r5, r7, middle);
  SwapSquares<kStep>(r0, r1, small);
  SwapSquares<kStep>(r2, r3, small);
  SwapSquares<kStep>(r4, r5, small);
  SwapSquares<kStep>(r6, r7, small);
  hn::Store(r0, d, at(0)), hn::Store(r1, d, at(1)), hn::Store(r2, d, at(2)),
      hn::Store(r3, d, at(3)), hn::Store(r4, d, at(4)), hn::Store(r5, d, at(5)),
      hn::Store(r6, d, at(6)), hn::Store(r7, d, at(7));
}

// Transposes squares of 64 x 64 bits, one in each lane.
HWY_INLINE void TransposeSquares(hn::ScalableTag<uint64_t> d, uint64_t* squares) {
  for (size_t i = 0; i < 8; ++i) SwapEight<8>(d, squares + i * hn::Lanes(d));
  for (size_t i = 0; i < 8; ++i) SwapEight<1>(d, squares + 8 * i * hn::Lanes(d));
}

// Whatever the squares hold.
void TransposeAllSquares(BitRows in, int64_t rows, int64_t columns, BitRows out) {
  const hn::ScalableTag<uint64_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  HWY_ALIGN uint64_t squares[64 * HWY_MAX_BYTES / sizeof(uint64_t)];
  for (int64_t r0 = 0; r0 < rows; r0 += 64) {
    const int64_t height = std::min<int64_t>(64, rows - r0);
    for (int64_t w0 = 0; w0 * 64 < columns; w0 += lanes) {
      const int64_t words = std::min(lanes, WordsFor(columns) - w0);
      if (height < 64 || words < lanes) std::fill_n(squares, 64 * lanes, 0);
      for (int64_t r = 0; r < height; ++r) {
        const uint64_t* from = in.row(r0 + r) + w0;
        if (words == lanes) {
          hn::Store(hn::LoadU(d, from), d, squares + r * lanes);
        } else {
          std::copy_n(from, words, squares + r * lanes);
        }
      }
      TransposeSquares(d, squares);
      for (int64_t w = 0; w < words; ++w) {
        const int64_t c0 = (w0 + w) * 64;
        const int64_t width = std::min<int64_t>(64, columns - c0);
        for (int64_t c = 0; c < width; ++c) out.row(c0 + c)[r0 / 64] = squares[c * lanes + w];
      }
    }
  }
}

// Words [w, w + lanes) of 64 rows: bits that any and that all of them have.
template <class D>
HWY_INLINE void Reduce(D d, BitRows rows, int64_t w, uint64_t* any, uint64_t* all) {
  auto some = hn::LoadU(d, rows.words + w), every = some;
  for (int64_t r = 1; r < 64; ++r) {
    const auto words = hn::LoadU(d, rows.row(r) + w);
    some = hn::Or(some, words);
    every = hn::And(every, words);
  }
  hn::StoreU(some, d, any);
  hn::StoreU(every, d, all);
}

// Words [w, w + lanes) into each of 64 rows.
template <class D>
HWY_INLINE void Repeat(D d, const uint64_t* words, int64_t w, BitRows rows) {
  const auto vector = hn::LoadU(d, words + w);
  for (int64_t r = 0; r < 64; ++r) hn::StoreU(vector, d, rows.row(r) + w);
}

struct SquareAt {
  int64_t row, column;  // In squares.
};

// Squares of which all bits are equal are filled in, whole rows at a time, and the others
// transposed. Returns false, where these are many, before it has done anything.
bool TransposeFewSquares(BitRows in, int64_t high, int64_t wide, BitRows out) {
  const hn::ScalableTag<uint64_t> d;
  const hn::CappedTag<uint64_t, 1> one;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  std::vector<uint64_t> any(static_cast<size_t>(wide)), all(static_cast<size_t>(wide));
  std::vector<uint64_t> filled(static_cast<size_t>(high * wide));  // [wide, high]
  std::vector<SquareAt> mixed;
  for (int64_t row = 0; row < high; ++row) {
    const BitRows strip{in.row(64 * row), in.stride};
    int64_t w = 0;
    for (; w + lanes <= wide; w += lanes) Reduce(d, strip, w, &any[w], &all[w]);
    for (; w < wide; ++w) Reduce(one, strip, w, &any[w], &all[w]);
    for (int64_t column = 0; column < wide; ++column) {
      if (any[column] != 0 && all[column] != ~uint64_t{0}) mixed.push_back({row, column});
      filled[column * high + row] = all[column];
    }
    if (2 * std::ssize(mixed) > high * wide) return false;
  }
  for (int64_t column = 0; column < wide; ++column) {
    const BitRows strip{out.row(64 * column), out.stride};
    const uint64_t* const words = filled.data() + column * high;
    int64_t w = 0;
    for (; w + lanes <= high; w += lanes) Repeat(d, words, w, strip);
    for (; w < high; ++w) Repeat(one, words, w, strip);
  }
  HWY_ALIGN uint64_t squares[64 * HWY_MAX_BYTES / sizeof(uint64_t)];
  for (size_t begin = 0; begin < mixed.size(); begin += static_cast<size_t>(lanes)) {
    const auto count = std::min(lanes, std::ssize(mixed) - static_cast<int64_t>(begin));
    for (int64_t i = 0; i < count; ++i) {
      const auto [row, column] = mixed[begin + static_cast<size_t>(i)];
      for (int64_t r = 0; r < 64; ++r) squares[r * lanes + i] = in.row(64 * row + r)[column];
    }
    TransposeSquares(d, squares);
    for (int64_t i = 0; i < count; ++i) {
      const auto [row, column] = mixed[begin + static_cast<size_t>(i)];
      for (int64_t c = 0; c < 64; ++c) out.row(64 * column + c)[row] = squares[c * lanes + i];
    }
  }
  return true;
}

void TransposeBits(BitRows in, int64_t rows, int64_t columns, BitRows out) {
  const bool is_whole = rows % 64 == 0 && columns % 64 == 0;
  if (is_whole && TransposeFewSquares(in, rows / 64, columns / 64, out)) return;
  TransposeAllSquares(in, rows, columns, out);
}

}  // namespace HWY_NAMESPACE
}  // namespace splashmask
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask {

HWY_EXPORT(PackBools);
HWY_EXPORT(DrawIntervals);
HWY_EXPORT(TransposeBits);
HWY_EXPORT(TestBits);

void PackBools(const std::byte* bools, int64_t count, uint64_t* row) {
  HWY_DYNAMIC_DISPATCH(PackBools)(bools, count, row);
}

void DrawIntervals(const int64_t* begins, const int64_t* ends, int64_t rows, int64_t columns,
                   BitRows out) {
  HWY_DYNAMIC_DISPATCH(DrawIntervals)(begins, ends, rows, columns, out);
}

void TransposeBits(BitRows in, int64_t rows, int64_t columns, BitRows out) {
  HWY_DYNAMIC_DISPATCH(TransposeBits)(in, rows, columns, out);
}

OwnedBits Transposed(BitRows in, int64_t rows, int64_t columns) {
  OwnedBits out(columns, rows);
  TransposeBits(in, rows, columns, out.rows());
  return out;
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
  AnyAll found;
  TestBits(bits, rows, count, 1, &found);
  return found;
}

void TestBits(BitRows bits, int64_t rows, int64_t count, int64_t blocks, AnyAll* found) {
  HWY_DYNAMIC_DISPATCH(TestBits)(bits, rows, count, blocks, found);
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

void LoadPacked(const std::byte* in, int64_t rows, int64_t columns, BitRows out) {
  const int64_t bytes = (columns + 7) / 8;
  for (int64_t r = 0; r < rows; ++r) {
    out.row(r)[WordsFor(columns) - 1] = 0;
    std::memcpy(out.row(r), in + r * bytes, static_cast<size_t>(bytes));
  }
}

bool SamePacked(const std::byte* packed, int64_t rows, int64_t columns, BitRows bits) {
  const int64_t bytes = (columns + 7) / 8;
  for (int64_t r = 0; r < rows; ++r) {
    if (std::memcmp(packed + r * bytes, bits.row(r), static_cast<size_t>(bytes)) != 0) return false;
  }
  return true;
}

}  // namespace splashmask
#endif  // HWY_ONCE
