// SPDX-License-Identifier: Apache-2.0
// The product that everything else is made of. Included once for each SIMD target.

#if defined(SPLASHMASK_KERNELS_FAST_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_PRODUCT_INL_H_
#undef SPLASHMASK_KERNELS_FAST_PRODUCT_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_PRODUCT_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <utility>

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using V32 = hn::Vec<F32>;

/// Vectors side by side in a panel, and rows that a product works on at once: as many sums as the
/// registers hold, beside a row of the panel and a factor.
constexpr int kVectors = 2;
#if HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kRows = 12;
#else
constexpr int kRows = 6;
#endif

/// Floats in a row of a panel: a vector's lanes hold as many q positions, all through.
HWY_INLINE int64_t PanelWidth() { return kVectors * static_cast<int64_t>(hn::Lanes(F32())); }

/// What a product does with what is already there.
struct Overwrite {
  HWY_INLINE V32 operator()(const float*, int) const { return hn::Zero(F32()); }
};
struct AddTo {
  HWY_INLINE V32 operator()(const float* out, int) const { return hn::Load(F32(), out); }
};
/// Scales column by column, then adds.
struct ScaleAndAdd {
  V32 scale[kVectors];
  HWY_INLINE V32 operator()(const float* out, int vector) const {
    return hn::Mul(hn::Load(F32(), out), scale[vector]);
  }
};

template <int kPanelsBeside, int kOutputsBeside, class Start, size_t... kRow>
HWY_INLINE void ProductRows(const float* HWY_RESTRICT a, int64_t a_row, int64_t a_k,
                            const float* HWY_RESTRICT panel, int64_t count, float* HWY_RESTRICT out,
                            const Start& start, std::index_sequence<kRow...>) {
  static_assert(kVectors == 2);
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t panel_row = kPanelsBeside * 2 * lanes, out_row = kOutputsBeside * 2 * lanes;
  V32 left[] = {start(out + static_cast<int64_t>(kRow) * out_row, 0)...};
  V32 right[] = {start(out + static_cast<int64_t>(kRow) * out_row + lanes, 1)...};
  // A pointer for every three rows, which x86 reaches as p, p + 4 s and p + 8 s: a pointer or an
  // offset for each row would not fit in the registers.
  const float* rows[] = {a + static_cast<int64_t>(kRow / 3 * 3) * a_row...};
#pragma GCC unroll 4
  for (int64_t k = 0; k < count; ++k) {
    const V32 b0 = hn::Load(d, panel), b1 = hn::Load(d, panel + lanes);
    const auto add = [&](size_t row) HWY_ATTR {
      const V32 factor = hn::Set(d, rows[row / 3 * 3][static_cast<int64_t>(row % 3) * a_row]);
      left[row] = hn::MulAdd(factor, b0, left[row]);
      right[row] = hn::MulAdd(factor, b1, right[row]);
    };
    (add(kRow), ...);
    panel += panel_row;
    ((rows[kRow] += kRow % 3 == 0 ? a_k : 0), ...);
  }
  ((hn::Store(left[kRow], d, out + static_cast<int64_t>(kRow) * out_row),
    hn::Store(right[kRow], d, out + static_cast<int64_t>(kRow) * out_row + lanes)),
   ...);
}

/// out[row][:] = start + sum over k of a(row, k) * panel[k][:], for `rows` rows and k < count,
/// where a(row, k) = a[row * a_row + k * a_k]. Rows of `panel` and `out` are PanelWidth() long, and
/// lie that many times so far apart as there are panels, or outputs, beside each other.
template <int kPanelsBeside = 1, int kOutputsBeside = 1, class Start>
HWY_INLINE void Product(const float* HWY_RESTRICT a, int64_t a_row, int64_t a_k, int64_t rows,
                        const float* HWY_RESTRICT panel, int64_t count, float* HWY_RESTRICT out,
                        const Start& start) {
  const int64_t out_row = kOutputsBeside * PanelWidth();
  int64_t row = 0;
  const auto advance = [&]<size_t kCount>(std::integral_constant<size_t, kCount>) HWY_ATTR {
    for (; row + static_cast<int64_t>(kCount) <= rows; row += kCount) {
      ProductRows<kPanelsBeside, kOutputsBeside>(a + row * a_row, a_row, a_k, panel, count,
                                                 out + row * out_row, start,
                                                 std::make_index_sequence<kCount>());
    }
  };
  advance(std::integral_constant<size_t, kRows>());
  if (kRows > 8) advance(std::integral_constant<size_t, 8>());
  advance(std::integral_constant<size_t, 4>());
  advance(std::integral_constant<size_t, 1>());
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
