// SPDX-License-Identifier: Apache-2.0
// exp of what is at most 0, for vectors of floats. Included once for each SIMD target.

#if defined(SPLASHMASK_KERNELS_FAST_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_EXP_INL_H_
#undef SPLASHMASK_KERNELS_FAST_EXP_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_EXP_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// exp(x) for x <= 0: within 1.5 + |x| / 4 units in the last place (1.5 + 5/4 |x| without fused
/// multiply-add), so that no weight of a softmax is off by more than two units of the largest; 0
/// below -87.33 (where exp leaves the normal floats) and for -inf; NaN for NaN.
///
/// Of several vectors at once, in place: each step waits for the one before, and the processor
/// looks ahead no further than a few vectors' steps.
template <int kCount, class D, class V = hn::Vec<D>>
HWY_INLINE void ExpOfNegatives(D d, V (&x)[kCount]) {
  const hn::RebindToSigned<D> di;
  // x = (n + r) ln 2, |r| <= 1/2. Adding 1.5 * 2^23 rounds to an integer, in the low bits; 127
  // beside it makes them the exponent's.
  const V log2e = hn::Set(d, 1.44269504f), magic = hn::Set(d, 12582912.0f + 127);
  V shifted[kCount], r[kCount], p[kCount];
  for (int i = 0; i < kCount; ++i) shifted[i] = hn::MulAdd(x[i], log2e, magic);
  for (int i = 0; i < kCount; ++i) r[i] = hn::Sub(shifted[i], magic);
  for (int i = 0; i < kCount; ++i) r[i] = hn::MulSub(x[i], log2e, r[i]);
  // 2^r, with the least largest error (2e-9) of those that are 1 at 0.
  const auto step = [&](float coefficient) HWY_ATTR {
    for (int i = 0; i < kCount; ++i) p[i] = hn::MulAdd(p[i], r[i], hn::Set(d, coefficient));
  };
  for (int i = 0; i < kCount; ++i) p[i] = hn::Set(d, 1.5353355e-4f);
  step(1.3398888e-3f);
  step(9.6184380e-3f);
  step(5.5503324e-2f);
  step(2.4022648e-1f);
  step(6.9314720e-1f);
  step(1.0f);
  for (int i = 0; i < kCount; ++i) {
    const V scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted[i])));
    x[i] = hn::IfThenZeroElse(hn::Lt(x[i], hn::Set(d, -87.33f)), hn::Mul(p[i], scale));
  }
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfNegative(D d, V x) {
  V one[] = {x};
  ExpOfNegatives(d, one);
  return one[0];
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
