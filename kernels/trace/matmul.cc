// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/trace/matmul.h"

#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/trace/matmul.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace splashmask::trace::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// sum[i][:] += sum over j of a[i * a_row + j * a_column] * b[j][:], four rows of b at a time.
void AddProduct(const float* a, int64_t a_row, int64_t a_column, const Matrix& b, Matrix* sum) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t whole = b.columns / lanes * lanes;
  for (int64_t i = 0; i < sum->rows; ++i) {
    float* const out = sum->row(i);
    int64_t j = 0;
    const auto add = [&]<int kCount>(std::integral_constant<int, kCount>) HWY_ATTR {
      const float* rows[kCount];
      float factors[kCount];
      for (int r = 0; r < kCount; ++r) {
        rows[r] = b.row(j + r);
        factors[r] = a[i * a_row + (j + r) * a_column];
      }
      for (int64_t c = 0; c < whole; c += lanes) {
        auto total = hn::LoadU(d, out + c);
        for (int r = 0; r < kCount; ++r) {
          total = hn::MulAdd(hn::Set(d, factors[r]), hn::LoadU(d, rows[r] + c), total);
        }
        hn::StoreU(total, d, out + c);
      }
      for (int64_t c = whole; c < b.columns; ++c) {
        for (int r = 0; r < kCount; ++r) out[c] += factors[r] * rows[r][c];
      }
      j += kCount;
    };
    while (j + 4 <= b.rows) add(std::integral_constant<int, 4>());
    while (j < b.rows) add(std::integral_constant<int, 1>());
  }
}

}  // namespace splashmask::trace::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask::trace {

HWY_EXPORT(AddProduct);

void AddProduct(const Matrix& a, const Matrix& b, Matrix* sum) {
  HWY_DYNAMIC_DISPATCH(AddProduct)(a.values.data(), a.columns, 1, b, sum);
}

void AddTransposedProduct(const Matrix& a, const Matrix& b, Matrix* sum) {
  HWY_DYNAMIC_DISPATCH(AddProduct)(a.values.data(), 1, a.columns, b, sum);
}

}  // namespace splashmask::trace
#endif  // HWY_ONCE
