// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/head_identity.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// The same bytes under the signed dtype of that size, when every value is the same there too.
Array Signed(const Array& positions) {
  constexpr std::pair<DType, DType> kSigned[] = {{DType::kUInt8, DType::kInt8},
                                                 {DType::kUInt16, DType::kInt16},
                                                 {DType::kUInt32, DType::kInt32},
                                                 {DType::kUInt64, DType::kInt64}};
  for (const auto& [from, to] : kSigned) {
    if (positions.dtype() != from) continue;
    const auto owner = std::make_shared<Array>(positions);
    const Array same_bytes(to, positions.shape(),
                           std::shared_ptr<const void>(owner, owner->data()));
    return same_bytes.ToInt64() == positions.ToInt64() ? same_bytes : positions;
  }
  return positions;
}

bool HasReorder(const Mask& mask) {
  return std::visit(
      Overloaded{
          [](const node::Reorder&) { return true; },
          [](const node::Not& n) { return HasReorder(n.mask); },
          [](const node::Binary& n) { return HasReorder(n.left) || HasReorder(n.right); },
          [](const auto&) { return false; },
      },
      mask.node().expr);
}

Mask Rebuild(const Mask& mask) {
  return std::visit(
      Overloaded{
          [](const node::Reorder& n) {
            std::optional<Positions> q, kv;
            if (n.q) q = Positions::FromArray(Signed(n.q->positions));
            if (n.kv) kv = Positions::FromArray(Array::FromVector(n.kv->positions.ToInt64()));
            return Rebuild(n.mask).Reorder(q, kv);
          },
          [](const node::Not& n) { return ~Rebuild(n.mask); },
          [](const node::Binary& n) { return Apply(n.op, Rebuild(n.left), Rebuild(n.right)); },
          [&](const auto&) { return mask; },
      },
      mask.node().expr);
}

}  // namespace

Mask HeadIdentity(const Mask& mask) { return HasReorder(mask) ? Rebuild(mask) : mask; }

}  // namespace splashmask
