// SPDX-License-Identifier: Apache-2.0
#pragma once
// Loops over bits and bools. Bit c of a row is bit (c % 64) of word (c / 64). Private to the
// project.

#include <cstddef>
#include <cstdint>
#include <memory>

namespace splashmask {

/// Words that hold `bits` bits.
constexpr int64_t WordsFor(int64_t bits) { return (bits + 63) / 64; }

/// Rows of bits somebody else owns, `stride` words apart.
struct BitRows {
  uint64_t* words = nullptr;
  int64_t stride = 0;

  uint64_t* row(int64_t index) const { return words + index * stride; }
};

/// Rows of bits with memory of their own, uninitialised, one after another.
class OwnedBits {
 public:
  OwnedBits(int64_t rows, int64_t columns)
      : memory_(std::make_unique_for_overwrite<uint64_t[]>(
            static_cast<size_t>(rows * WordsFor(columns)))),
        stride_(WordsFor(columns)) {}

  BitRows rows() const { return {memory_.get(), stride_}; }

 private:
  std::unique_ptr<uint64_t[]> memory_;
  int64_t stride_;
};

/// Sets the bits [begin, end) of a row.
void SetBits(uint64_t* row, int64_t begin, int64_t end);
/// Clears or fills `count` bits from bit 0; bits past them in the last word become 0.
void FillRow(uint64_t* row, int64_t count, bool value);

/// Sets the bits [begins[r], ends[r]) of each row, none where there are none, and clears the
/// others; 0 <= begins[r], ends[r] <= columns. Bits past `columns` in the last word become 0.
void DrawIntervals(const int64_t* begins, const int64_t* ends, int64_t rows, int64_t columns,
                   BitRows out);

/// row[w] = a[w] op row[w] and so on, for `words` words.
void AndWords(uint64_t* row, const uint64_t* other, int64_t words);
void OrWords(uint64_t* row, const uint64_t* other, int64_t words);
void XorWords(uint64_t* row, const uint64_t* other, int64_t words);
void AndNotWords(uint64_t* row, const uint64_t* other, int64_t words);

/// row[at + i] |= bits[i] for `count` bits; those past them in the last word of `bits` are 0.
void OrShifted(const uint64_t* bits, int64_t count, int64_t at, uint64_t* row);
/// Puts `count` bits in the opposite order; those past them in the last word are 0, and stay so.
void ReverseBits(uint64_t* row, int64_t count);

/// Flips `count` bits from bit 0; bits past them stay as they are.
void FlipBits(uint64_t* row, int64_t count);

/// Whether any, and whether all, of `count` bits from bit 0 are set, over `rows` rows.
struct AnyAll {
  bool any = false;
  bool all = true;
};
AnyAll TestBits(BitRows bits, int64_t rows, int64_t count);
/// The same of `blocks` that lie side by side, WordsFor(count) words apart.
void TestBits(BitRows bits, int64_t rows, int64_t count, int64_t blocks, AnyAll* found);

/// Bit c = (bools[c] != 0) for `count` bools; bits past them in the last word become 0. SIMD, with
/// run-time dispatch.
void PackBools(const std::byte* bools, int64_t count, uint64_t* row);

/// Writes the transpose of rows x columns bits: bit r of row c of `out` is bit c of row r of `in`.
/// Bits past `rows` in the last word of each row of `out` become 0.
void TransposeBits(BitRows in, int64_t rows, int64_t columns, BitRows out);
OwnedBits Transposed(BitRows in, int64_t rows, int64_t columns);

/// Copies rows of `columns` bits to packed rows of ceil(columns / 8) bytes.
void StorePacked(BitRows in, int64_t rows, int64_t columns, std::byte* out);
/// The opposite. Bits past `columns` in the last word of a row become 0, as they are in `in`.
void LoadPacked(const std::byte* in, int64_t rows, int64_t columns, BitRows out);
/// Whether packed rows hold these bits.
bool SamePacked(const std::byte* packed, int64_t rows, int64_t columns, BitRows bits);

}  // namespace splashmask
