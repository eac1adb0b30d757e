// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/computable.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <variant>

#include "splashmask/masks/node.h"
#include "splashmask/masks/where/fits_kernel.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

bool IsComputable(const Mask& mask) {
  const MaskExpr& expr = mask.node().expr;
  if (const auto* custom = std::get_if<node::Custom>(&expr)) return custom->function->computable();
  return std::holds_alternative<node::Causal>(expr) || std::holds_alternative<node::Local>(expr) ||
         std::holds_alternative<node::ChunkedCausal>(expr);
}

// Whether only positions decide, without any array.
bool IsPositional(const Mask& mask) {
  return std::visit(
      Overloaded{
          [](const node::Documents&) { return false; },
          [](const node::Segments&) { return false; },
          [](const node::Blocks&) { return false; },
          [](const node::Dense&) { return false; },
          [](const node::Custom&) { return false; },
          [](const node::Reorder&) { return false; },
          [](const node::Not& n) { return IsPositional(n.mask); },
          [](const node::Binary& n) { return IsPositional(n.left) && IsPositional(n.right); },
          [](const auto&) { return true; },
      },
      mask.node().expr);
}

template <typename T>
Array Iota(int64_t length, DType dtype) {
  const auto bytes = AllocateBytes(length * DTypeSize(dtype));
  T* numbers = reinterpret_cast<T*>(bytes.get());
  constexpr int64_t kPiece = (int64_t{2} << 20) / int64_t{sizeof(T)};  // A huge page.
  ParallelFor((length - 1) / kPiece + 1, [&](int64_t piece) {
    const int64_t begin = piece * kPiece, end = std::min(begin + kPiece, length);
    std::iota(numbers + begin, numbers + end, static_cast<T>(begin));
  });
  return Array(dtype, {length}, bytes);
}

}  // namespace

std::optional<Computable> FindComputable(const Mask& mask, bool simplify) {
  const auto* reorder = std::get_if<node::Reorder>(&mask.node().expr);
  if (reorder != nullptr && reorder->kv) return std::nullopt;
  Computable found{mask, std::nullopt};
  if (reorder != nullptr) found = {reorder->mask, reorder->q->positions};
  const bool computable =
      IsComputable(found.function) ||
      (simplify && IsPositional(found.function) && FitsKernel(found.function, found.q_sequence));
  return computable ? std::optional(std::move(found)) : std::nullopt;
}

Array RowNumbers(int64_t q_len) {
  const bool fits = q_len <= std::numeric_limits<int32_t>::max();
  return fits ? Iota<int32_t>(q_len, DType::kInt32) : Iota<int64_t>(q_len, DType::kInt64);
}

}  // namespace splashmask
