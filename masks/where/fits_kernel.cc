// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/where/fits_kernel.h"

#include <algorithm>

#include "splashmask/masks/node.h"
#include "splashmask/masks/where/ranges.h"

namespace splashmask {

namespace {

// Recursion is bounded by kMaxMaskDepth.
bool Fits(const Mask& mask, PositionRange q) {
  if (!mask.node().has_predicate) return true;
  const Shape shape = mask.shape();
  return std::visit(
      Overloaded{
          [&](const node::Where& n) {
            return FitsInt32(PredicateProgram(n.predicate, shape), q, {0, shape.kv_len - 1});
          },
          [&](const node::Not& n) { return Fits(n.mask, q); },
          [&](const node::Binary& n) { return Fits(n.left, q) && Fits(n.right, q); },
          [](const auto&) { return false; },  // Reorderings are not for kernels.
      },
      mask.node().expr);
}

}  // namespace

bool FitsKernel(const Mask& mask, const std::optional<Array>& q_positions) {
  PositionRange q{0, mask.shape().q_len - 1};
  for (int64_t i = 0; q_positions && i < q_positions->size(); ++i) {
    const int64_t position = q_positions->At(i);
    q.first = i == 0 ? position : std::min(q.first, position);
    q.last = i == 0 ? position : std::max(q.last, position);
  }
  constexpr int64_t kFar = int64_t{1} << 30;
  return q.first >= -kFar && q.last < kFar && mask.shape().kv_len <= kFar && Fits(mask, q);
}

}  // namespace splashmask
