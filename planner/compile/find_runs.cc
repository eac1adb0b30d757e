// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/find_runs.h"

#include <bit>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/planner/compile/find_runs.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace splashmask {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

int64_t FindRunStarts(const int32_t* ids, int64_t count, int32_t* starts) {
  const hn::ScalableTag<int32_t> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t found = 0;
  starts[found++] = 0;
  int64_t i = 1;
  const auto change = [&](int64_t at) {
    return hn::Ne(hn::LoadU(d, ids + at), hn::LoadU(d, ids + at - 1));
  };
  const auto write = [&](hn::Mask<decltype(d)> changes, int64_t at) {
    uint64_t bits = 0;
    hn::StoreMaskBits(d, changes, reinterpret_cast<uint8_t*>(&bits));
    for (; bits != 0; bits &= bits - 1) {
      starts[found++] = static_cast<int32_t>(at + std::countr_zero(bits));
    }
  };
  // Runs are long: four vectors a test.
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto a = change(i), b = change(i + lanes);
    const auto c = change(i + 2 * lanes), e = change(i + 3 * lanes);
    if (HWY_LIKELY(hn::AllFalse(d, hn::Or(hn::Or(a, b), hn::Or(c, e))))) continue;
    write(a, i);
    write(b, i + lanes);
    write(c, i + 2 * lanes);
    write(e, i + 3 * lanes);
  }
  for (; i < count; ++i) {
    if (ids[i] != ids[i - 1]) starts[found++] = static_cast<int32_t>(i);
  }
  return found;
}

}  // namespace HWY_NAMESPACE
}  // namespace splashmask
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask {

HWY_EXPORT(FindRunStarts);

int64_t FindRunStarts(const int32_t* ids, int64_t count, int32_t* starts) {
  return HWY_DYNAMIC_DISPATCH(FindRunStarts)(ids, count, starts);
}

}  // namespace splashmask
#endif  // HWY_ONCE
