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
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfNegative(D d, V x) {
  const hn::RebindToSigned<D> di;
  // x = (n + r) ln 2, |r| <= 1/2. Adding 1.5 * 2^23 rounds to an integer, in the low bits; 127
  // beside it makes them the exponent's.
  const V log2e = hn::Set(d, 1.44269504f), magic = hn::Set(d, 12582912.0f + 127);
  const V shifted = hn::MulAdd(x, log2e, magic);
  const V r = hn::MulSub(x, log2e, hn::Sub(shifted, magic));
  // 2^r, with the least largest error (2e-9) of those that are 1 at 0.
  V p = hn::Set(d, 1.5353355e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3398888e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 9.6184380e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.5503324e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 2.4022648e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 6.9314720e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  const V scale = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33f)), hn::Mul(p, scale));
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
