// SPDX-License-Identifier: Apache-2.0
// Rows of bfloat16 numbers as the pairs that AVX-512-BF16 multiplies. Included once for each SIMD
// target; there is something only where SPLASHMASK_HAS_PAIRS.

#if defined(SPLASHMASK_KERNELS_FAST_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_PAIRS_INL_H_
#undef SPLASHMASK_KERNELS_FAST_PAIRS_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_PAIRS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "splashmask/kernels/fast/bf16_product.h"
#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"
#include "splashmask/kernels/fast/transpose-inl.h"

#define SPLASHMASK_HAS_PAIRS (HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3)

#if SPLASHMASK_HAS_PAIRS
HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// For products that add to what is there.
alignas(64) constexpr float kOnes[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                       1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/// Pairs that hold so many numbers; a last one without a partner is paired with 0.
HWY_INLINE int64_t PairCount(int64_t numbers) { return (numbers + 1) / 2; }

HWY_INLINE uint32_t* TakePairs(Scratch& scratch, int64_t pairs) {
  return reinterpret_cast<uint32_t*>(scratch.Take(pairs));
}

HWY_INLINE const uint16_t* Bf16Row(const Rows& rows, int64_t i) {
  return static_cast<const uint16_t*>(rows.data) + i * rows.row;
}

/// Numbers 2 * pair and 2 * pair + 1 of a row.
HWY_INLINE uint32_t PairAt(const Rows& rows, int64_t i, int64_t pair, int64_t dim) {
  const uint16_t* const first = Bf16Row(rows, i) + 2 * pair * rows.dim;
  return *first | (2 * pair + 1 < dim ? static_cast<uint32_t>(first[rows.dim]) << 16 : 0);
}

/// Writes rows [first, first + count) as columns of a panel of pairs, [PairCount(dim)][width].
HWY_INLINE void PairsToPanel(const Rows& rows, int64_t first, int64_t count, int64_t dim,
                             uint32_t* panel) {
  const int64_t width = PanelWidth();
  const bool are_words = rows.dim == 1 && dim % 2 == 0 && rows.row % 2 == 0 &&
                         reinterpret_cast<uintptr_t>(rows.data) % sizeof(uint32_t) == 0;
  if (are_words) {  // Which are moved as floats are.
    RowsToPanel({rows.data, FloatType::kFloat32, rows.row / 2, 1}, first, count, dim / 2, width,
                reinterpret_cast<float*>(panel));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t p = 0; p < PairCount(dim); ++p) {
      panel[p * width + i] = PairAt(rows, first + i, p, dim);
    }
  }
}

/// Rows whose pairs lie along the dimension: the tensor's own, where they can be.
class RowsOfPairs {
 public:
  RowsOfPairs(int64_t most_rows, int64_t dim, Scratch& scratch)
      : dim_(dim), scratch_(TakePairs(scratch, most_rows * PairCount(dim))) {}

  void Load(const Rows& rows, int64_t first, int64_t count) {
    if (rows.dim == 1 && dim_ % 2 == 0) {
      data_ = Bf16Row(rows, first);
      row_ = rows.row;
      return;
    }
    const int64_t pairs = PairCount(dim_);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t p = 0; p < pairs; ++p)
        scratch_[i * pairs + p] = PairAt(rows, first + i, p, dim_);
    }
    data_ = reinterpret_cast<const uint16_t*>(scratch_);
    row_ = 2 * pairs;
  }

  /// From the i-th row loaded on; rows lie row() numbers apart.
  const uint16_t* At(int64_t i) const { return data_ + i * row_; }
  int64_t row() const { return row_; }

 private:
  const int64_t dim_;
  uint32_t* const scratch_;
  const uint16_t* data_ = nullptr;
  int64_t row_ = 0;
};

/// Rows of which two and two make pairs: [dim / part][pairs][part], 0 beyond the dimension. NaN and
/// infinities are taken out, so that they meet nothing by way of a factor 0.
class PairedRows {
 public:
  PairedRows(int64_t most_rows, int64_t dim, int64_t part, Scratch& scratch)
      : dim_(dim),
        part_(part),
        most_pairs_(PairCount(most_rows)),
        pairs_(TakePairs(scratch, most_pairs_ * PaddedDim())) {}

  void Load(const Rows& rows, int64_t first, int64_t count) {
    rows_ = rows;
    first_ = first;
    count_ = count;
    for (int64_t begin = 0; begin < dim_; begin += part_) {
      const int64_t there = std::min(part_, dim_ - begin);
      for (int64_t i = 0; i < count; i += 2) {
        uint32_t* const out = pairs_ + begin * most_pairs_ + i / 2 * part_;
        std::fill(out + there, out + part_, 0);
        LoadPair(i, begin, there, out);
      }
    }
    TakeOutWhatIsNotFinite();
  }

  int64_t count() const { return count_; }
  int64_t pair_count() const { return PairCount(count_); }

  /// The part that begins at dimension d, from the pair of row `row` on.
  const uint32_t* Part(int64_t d, int64_t row = 0) const {
    return pairs_ + d * most_pairs_ + row / 2 * part_;
  }

  /// Calls work(row, d, number) for what was taken out of rows [begin, begin + count).
  template <class Work>
  void ForEachNotFinite(int64_t begin, int64_t count, const Work& work) const {
    if (is_finite_) return;
    for (int64_t i = begin; i < std::min(begin + count, count_); ++i) {
      for (int64_t d = 0; d < dim_; ++d) {
        const uint16_t bits = Bf16Row(rows_, first_ + i)[d * rows_.dim];
        if ((bits & kExponent) == kExponent) work(i, d, FromBFloat16(bits));
      }
    }
  }

 private:
  static constexpr uint16_t kExponent = 0x7F80;  // All ones: NaN or infinite.

  int64_t PaddedDim() const { return (dim_ + part_ - 1) / part_ * part_; }

  void LoadPair(int64_t i, int64_t begin, int64_t count, uint32_t* out) const {
    const uint16_t* const first = Bf16Row(rows_, first_ + i) + begin * rows_.dim;
    const uint16_t* const second = i + 1 < count_ ? first + rows_.row : nullptr;
    if (rows_.dim == 1 && second != nullptr) {
      PairRows(first, second, count, out);
      return;
    }
    for (int64_t d = 0; d < count; ++d) {
      out[d] = first[d * rows_.dim] |
               (second != nullptr ? static_cast<uint32_t>(second[d * rows_.dim]) << 16 : 0);
    }
  }

  void TakeOutWhatIsNotFinite() {
    is_finite_ = true;
    for (int64_t begin = 0; begin < dim_; begin += part_) {
      uint32_t* const part = pairs_ + begin * most_pairs_;
      is_finite_ &= TakeOut(part, pair_count() * part_);
    }
  }

  static bool TakeOut(uint32_t* pairs, int64_t count) {
    const hn::RebindToUnsigned<F32> d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const auto low = hn::Set(d, kExponent), high = hn::Set(d, uint32_t{kExponent} << 16);
    auto found = hn::FirstN(d, 0);
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      const auto two = hn::LoadU(d, pairs + i);
      found =
          hn::Or(found, hn::Or(hn::Eq(hn::And(two, low), low), hn::Eq(hn::And(two, high), high)));
    }
    const auto is_finite = [](uint32_t bits) { return (bits & kExponent) != kExponent; };
    bool all = hn::AllFalse(d, found);
    for (; i < count; ++i) all &= is_finite(pairs[i]) && is_finite(pairs[i] >> 16);
    for (i = all ? count : 0; i < count; ++i) {
      if (!is_finite(pairs[i])) pairs[i] &= 0xFFFF0000u;
      if (!is_finite(pairs[i] >> 16)) pairs[i] &= 0xFFFFu;
    }
    return all;
  }

  const int64_t dim_, part_, most_pairs_;
  uint32_t* const pairs_;
  Rows rows_;
  int64_t first_ = 0, count_ = 0;
  bool is_finite_ = true;
};

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // SPLASHMASK_HAS_PAIRS

#endif
