// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/array_order.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace splashmask::simplify {

int CompareArrays(const Array& a, const Array& b) {
  if (a.dtype() != b.dtype()) return a.dtype() < b.dtype() ? -1 : 1;
  if (a.shape() != b.shape()) return a.shape() < b.shape() ? -1 : 1;
  if (a.data() == b.data() || a.size() == 0) return 0;
  const int bytes = std::memcmp(a.data(), b.data(), static_cast<size_t>(a.size_bytes()));
  if (bytes == 0 || a.dtype() != DType::kBool) return bytes;
  // Any byte but 0 is true.
  const auto [x, y] = std::mismatch(a.data(), a.data() + a.size(), b.data(), [](auto p, auto q) {
    return (p != std::byte{0}) == (q != std::byte{0});
  });
  if (x == a.data() + a.size()) return 0;
  return *x == std::byte{0} ? -1 : 1;
}

}  // namespace splashmask::simplify
