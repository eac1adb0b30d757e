// SPDX-License-Identifier: Apache-2.0
// Masks as values: structural equality and hashes.

#include <functional>
#include <numeric>
#include <string>

#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

bool SameOrder(const std::optional<node::Order>& a, const std::optional<node::Order>& b) {
  if (!a || !b) return a.has_value() == b.has_value();
  return a->written.kind == b->written.kind && a->written.n == b->written.n &&
         a->positions == b->positions;
}

// Structural equality of two payloads of the same kind.
struct SameExpr {
  const MaskExpr& other;

  template <typename T>
  const T& Other() const {
    return std::get<T>(other);
  }
  bool operator()(const node::Full&) const { return true; }
  bool operator()(const node::Empty&) const { return true; }
  bool operator()(const node::Causal& a) const { return a.offset == Other<node::Causal>().offset; }
  bool operator()(const node::Local& a) const {
    const auto& b = Other<node::Local>();
    return a.left == b.left && a.right == b.right && a.offset == b.offset;
  }
  bool operator()(const node::ChunkedCausal& a) const {
    return a.chunk == Other<node::ChunkedCausal>().chunk;
  }
  bool operator()(const node::Prefix& a) const { return a.n == Other<node::Prefix>().n; }
  bool operator()(const node::QRange& a) const {
    const auto& b = Other<node::QRange>();
    return a.begin == b.begin && a.end == b.end;
  }
  bool operator()(const node::KvRange& a) const {
    const auto& b = Other<node::KvRange>();
    return a.begin == b.begin && a.end == b.end;
  }
  bool operator()(const node::Stride& a) const {
    const auto& b = Other<node::Stride>();
    return a.step == b.step && a.phase == b.phase;
  }
  bool operator()(const node::Documents& a) const {
    const auto& b = Other<node::Documents>();
    return a.lengths == b.lengths && a.array == b.array;
  }
  bool operator()(const node::Segments& a) const {
    const auto& b = Other<node::Segments>();
    return a.pad == b.pad && a.q_ids == b.q_ids && a.kv_ids == b.kv_ids;
  }
  bool operator()(const node::Blocks& a) const {
    const auto& b = Other<node::Blocks>();
    return a.block == b.block && a.bits == b.bits;
  }
  bool operator()(const node::Dense& a) const { return a.array == Other<node::Dense>().array; }
  bool operator()(const node::Where& a) const {
    return a.predicate == Other<node::Where>().predicate;
  }
  bool operator()(const node::Custom& a) const {
    return a.function->Equals(*Other<node::Custom>().function);
  }
  bool operator()(const node::Reorder& a) const {
    const auto& b = Other<node::Reorder>();
    return SameOrder(a.q, b.q) && SameOrder(a.kv, b.kv) && a.mask == b.mask;
  }
  bool operator()(const node::Not& a) const { return a.mask == Other<node::Not>().mask; }
  bool operator()(const node::Binary& a) const {
    const auto& b = Other<node::Binary>();
    return a.op == b.op && a.left == b.left && a.right == b.right;
  }
};

}  // namespace

bool SamePayload(const MaskExpr& a, const MaskExpr& b) {
  return a.index() == b.index() && std::visit(SameExpr{b}, a);
}

bool operator==(const Mask& a, const Mask& b) {
  if (a.node_ == b.node_) return true;
  const MaskNode& x = a.node();
  const MaskNode& y = b.node();
  return x.shape == y.shape && x.nodes == y.nodes && x.depth == y.depth &&
         SamePayload(x.expr, y.expr);
}

namespace {

size_t Mix(size_t seed, uint64_t value) {
  uint64_t x = seed * 0x9e3779b97f4a7c15 + value;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93;
  return x ^ (x >> 32);
}

size_t MixOptional(size_t seed, const std::optional<int64_t>& value) {
  return Mix(Mix(seed, value.has_value()), static_cast<uint64_t>(value.value_or(0)));
}

uint64_t HashOrder(const std::optional<node::Order>& order) {
  return order ? order->positions.ContentHash() : 0;
}

size_t HashExpr(const MaskExpr& expr) {
  const size_t seed = Mix(0, expr.index());
  return std::visit(
      Overloaded{
          [&](const node::Full&) { return seed; },
          [&](const node::Empty&) { return seed; },
          [&](const node::Causal& n) { return Mix(seed, n.offset); },
          [&](const node::Local& n) {
            return Mix(MixOptional(MixOptional(seed, n.left), n.right), n.offset);
          },
          [&](const node::ChunkedCausal& n) { return Mix(seed, n.chunk); },
          [&](const node::Prefix& n) { return Mix(seed, n.n); },
          [&](const node::QRange& n) { return Mix(Mix(seed, n.begin), n.end); },
          [&](const node::KvRange& n) { return Mix(Mix(seed, n.begin), n.end); },
          [&](const node::Stride& n) { return Mix(Mix(seed, n.step), n.phase); },
          [&](const node::Documents& n) {
            return std::accumulate(n.lengths.begin(), n.lengths.end(),
                                   Mix(seed, n.array.has_value()), Mix);
          },
          [&](const node::Segments& n) {
            return MixOptional(Mix(Mix(seed, n.q_ids.ContentHash()), n.kv_ids.ContentHash()),
                               n.pad);
          },
          [&](const node::Blocks& n) { return Mix(Mix(seed, n.bits.ContentHash()), n.block); },
          [&](const node::Dense& n) { return Mix(seed, n.array.ContentHash()); },
          [&](const node::Where& n) {
            return Mix(seed, std::hash<std::string>()(n.predicate.text()));
          },
          [&](const node::Custom& n) { return Mix(seed, n.function->Hash()); },
          [&](const node::Reorder& n) {
            return Mix(Mix(Mix(seed, HashOrder(n.q)), HashOrder(n.kv)), n.mask.Hash());
          },
          [&](const node::Not& n) { return Mix(seed, n.mask.Hash()); },
          [&](const node::Binary& n) {
            return Mix(Mix(Mix(seed, static_cast<uint64_t>(n.op)), n.left.Hash()), n.right.Hash());
          },
      },
      expr);
}

}  // namespace

size_t Mask::Hash() const {
  return Mix(Mix(HashExpr(node_->expr), node_->shape.q_len), node_->shape.kv_len);
}

}  // namespace splashmask
