// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/computable.h"

#include <limits>
#include <numeric>
#include <variant>
#include <vector>

#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

bool IsComputable(const Mask& mask) {
  const MaskExpr& expr = mask.node().expr;
  return std::holds_alternative<node::Causal>(expr) || std::holds_alternative<node::Local>(expr) ||
         std::holds_alternative<node::ChunkedCausal>(expr);
}

template <typename T>
Array Iota(int64_t length) {
  std::vector<T> numbers(static_cast<size_t>(length));
  std::iota(numbers.begin(), numbers.end(), T{0});
  return Array::FromVector(numbers);
}

}  // namespace

std::optional<Computable> FindComputable(const Mask& mask) {
  const auto* reorder = std::get_if<node::Reorder>(&mask.node().expr);
  if (reorder != nullptr && IsComputable(reorder->mask)) {
    return Computable{reorder->mask, reorder->q_positions};
  }
  if (!IsComputable(mask)) return std::nullopt;
  return Computable{mask, std::nullopt};
}

Array RowNumbers(int64_t q_len) {
  const bool fits = q_len <= std::numeric_limits<int32_t>::max();
  return fits ? Iota<int32_t>(q_len) : Iota<int64_t>(q_len);
}

}  // namespace splashmask
