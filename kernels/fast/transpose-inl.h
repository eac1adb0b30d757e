// SPDX-License-Identifier: Apache-2.0
// Rows of a tensor to the columns of a panel, and back. Included once for each SIMD target.

#if defined(SPLASHMASK_KERNELS_FAST_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_TRANSPOSE_INL_H_
#undef SPLASHMASK_KERNELS_FAST_TRANSPOSE_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_TRANSPOSE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "splashmask/kernels/fast/task.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Four by four floats are transposed in registers: wider ones would gain less than their edges
// cost.
constexpr int64_t kSquare = 4;
using F32x4 = hn::FixedTag<float, kSquare>;
using V32x4 = hn::Vec<F32x4>;

HWY_INLINE float At(const Rows& rows, int64_t i, int64_t d) {
  const int64_t offset = i * rows.row + d * rows.dim;
  if (rows.type == FloatType::kFloat32) return static_cast<const float*>(rows.data)[offset];
  return FromBFloat16(static_cast<const uint16_t*>(rows.data)[offset]);
}

HWY_INLINE void SetAt(const OutputRows& rows, int64_t i, int64_t d, float value) {
  const int64_t offset = i * rows.row + d * rows.dim;
  if (rows.type == FloatType::kFloat32) {
    static_cast<float*>(rows.data)[offset] = value;
  } else {
    static_cast<uint16_t*>(rows.data)[offset] = ToBFloat16(value);
  }
}

/// At of four numbers from d on, where those of a row lie side by side.
HWY_INLINE V32x4 LoadFour(const Rows& rows, int64_t i, int64_t d) {
  const int64_t offset = i * rows.row + d;
  if (rows.type == FloatType::kFloat32) {
    return hn::LoadU(F32x4(), static_cast<const float*>(rows.data) + offset);
  }
  const hn::FixedTag<uint16_t, kSquare> half;
  const hn::RebindToUnsigned<F32x4> whole;
  const auto bits = hn::LoadU(half, static_cast<const uint16_t*>(rows.data) + offset);
  return hn::BitCast(F32x4(), hn::ShiftLeft<16>(hn::PromoteTo(whole, bits)));
}

/// SetAt of four numbers from d on, where those of a row lie side by side.
HWY_INLINE void SetFour(const OutputRows& rows, int64_t i, int64_t d, V32x4 values) {
  const int64_t offset = i * rows.row + d;
  if (rows.type == FloatType::kFloat32) {
    hn::StoreU(values, F32x4(), static_cast<float*>(rows.data) + offset);
    return;
  }
  // As ToBFloat16 does.
  const hn::FixedTag<uint16_t, kSquare> half;
  const hn::RebindToUnsigned<F32x4> whole;
  const hn::RebindToSigned<F32x4> as_signed;  // None is beyond 16 bits.
  const auto bits = hn::BitCast(whole, values);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(whole, 1));
  const auto nearest = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(whole, 0x7FFF)), odd));
  const auto quiet = hn::Or(hn::ShiftRight<16>(bits), hn::Set(whole, 0x40));
  const auto is_nan = hn::RebindMask(whole, hn::IsNaN(values));
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(as_signed, hn::IfThenElse(is_nan, quiet, nearest))),
             half, static_cast<uint16_t*>(rows.data) + offset);
}

HWY_INLINE void TransposeSquare(V32x4& a, V32x4& b, V32x4& c, V32x4& d) {
  const F32x4 f;
  const hn::RepartitionToWide<hn::RebindToUnsigned<F32x4>> pairs;
  const auto ab = hn::BitCast(pairs, hn::InterleaveLower(f, a, b));
  const auto ab_after = hn::BitCast(pairs, hn::InterleaveUpper(f, a, b));
  const auto cd = hn::BitCast(pairs, hn::InterleaveLower(f, c, d));
  const auto cd_after = hn::BitCast(pairs, hn::InterleaveUpper(f, c, d));
  a = hn::BitCast(f, hn::InterleaveLower(pairs, ab, cd));
  b = hn::BitCast(f, hn::InterleaveUpper(pairs, ab, cd));
  c = hn::BitCast(f, hn::InterleaveLower(pairs, ab_after, cd_after));
  d = hn::BitCast(f, hn::InterleaveUpper(pairs, ab_after, cd_after));
}

/// Writes rows [first, first + count) as columns, out[d * width + i] for d < dim.
HWY_INLINE void RowsToPanel(const Rows& rows, int64_t first, int64_t count, int64_t dim,
                            int64_t width, float* out) {
  const F32x4 f;
  int64_t i = 0;
  for (; rows.dim == 1 && i + kSquare <= count; i += kSquare) {
    int64_t d = 0;
    for (; d + kSquare <= dim; d += kSquare) {
      V32x4 v0 = LoadFour(rows, first + i, d), v1 = LoadFour(rows, first + i + 1, d),
            v2 = LoadFour(rows, first + i + 2, d), v3 = LoadFour(rows, first + i + 3, d);
      TransposeSquare(v0, v1, v2, v3);
      float* const to = out + d * width + i;
      hn::StoreU(v0, f, to);
      hn::StoreU(v1, f, to + width);
      hn::StoreU(v2, f, to + 2 * width);
      hn::StoreU(v3, f, to + 3 * width);
    }
    for (; d < dim; ++d) {
      for (int64_t r = i; r < i + kSquare; ++r) out[d * width + r] = At(rows, first + r, d);
    }
  }
  for (; i < count; ++i) {
    for (int64_t d = 0; d < dim; ++d) out[d * width + i] = At(rows, first + i, d);
  }
}

/// Writes columns panel[d * width + i], each times scale[i] if there is one, as rows
/// [first, first + count).
HWY_INLINE void PanelToRows(const float* panel, int64_t width, const float* scale, int64_t dim,
                            const OutputRows& rows, int64_t first, int64_t count) {
  const F32x4 f;
  const auto set = [&](int64_t i, int64_t d) HWY_ATTR {
    const float factor = scale == nullptr ? 1 : scale[i];
    SetAt(rows, first + i, d, panel[d * width + i] * factor);
  };
  int64_t i = 0;
  for (; rows.dim == 1 && i + kSquare <= count; i += kSquare) {
    const V32x4 factor = scale == nullptr ? hn::Set(f, 1.0f) : hn::LoadU(f, scale + i);
    int64_t d = 0;
    for (; d + kSquare <= dim; d += kSquare) {
      const float* const from = panel + d * width + i;
      const auto load = [&](int64_t n)
                            HWY_ATTR { return hn::Mul(hn::LoadU(f, from + n * width), factor); };
      V32x4 v0 = load(0), v1 = load(1), v2 = load(2), v3 = load(3);
      TransposeSquare(v0, v1, v2, v3);
      SetFour(rows, first + i, d, v0);
      SetFour(rows, first + i + 1, d, v1);
      SetFour(rows, first + i + 2, d, v2);
      SetFour(rows, first + i + 3, d, v3);
    }
    for (; d < dim; ++d) {
      for (int64_t r = i; r < i + kSquare; ++r) set(r, d);
    }
  }
  for (; i < count; ++i) {
    for (int64_t d = 0; d < dim; ++d) set(i, d);
  }
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
