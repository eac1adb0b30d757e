// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/difference_mask.h"

#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

using node::Op;

// Larger expressions are not compared part by part: each comparison may walk all of both.
constexpr int64_t kMostNodes = 10'000;

// A node over others of the same shape, as deep as need be.
Mask Above(const Mask& child, MaskExpr expr) {
  auto node = std::make_shared<MaskNode>();
  node->shape = child.shape();
  node->expr = std::move(expr);
  return Mask(std::move(node));
}

bool IsEmpty(const Mask& mask) { return std::holds_alternative<node::Empty>(mask.node().expr); }

// `changed` op `shared`, for operators that keep empty() on the left as it is.
Mask Within(const Mask& changed, Op op, const Mask& shared) {
  return IsEmpty(changed) ? changed : Above(shared, node::Binary{op, changed, shared});
}

Mask Xor(const Mask& a, const Mask& b) {
  if (IsEmpty(a)) return b;
  if (IsEmpty(b)) return a;
  return Above(a, node::Binary{Op::kXor, a, b});
}

// The mask below all negations, and whether their number is odd.
std::pair<Mask, bool> WithoutNegations(Mask mask) {
  bool is_odd = false;
  while (const auto* negation = std::get_if<node::Not>(&mask.node().expr)) {
    const Mask inner = negation->mask;
    mask = inner;
    is_odd = !is_odd;
  }
  return {std::move(mask), is_odd};
}

bool IsSame(const Mask& a, const Mask& b) {
  return a == b || WithoutNegations(a) == WithoutNegations(b);
}

// Where `mask` differs from an expression that it is an operand of.
std::optional<Mask> DifferenceFromParent(const Mask& mask, const node::Binary& parent) {
  const bool is_left = IsSame(mask, parent.left);
  if (!is_left && (parent.op == Op::kSub || !IsSame(mask, parent.right))) return std::nullopt;
  const Mask& other = is_left ? parent.right : parent.left;
  switch (parent.op) {
    case Op::kAnd:
      return Within(mask, Op::kSub, other);
    case Op::kOr:
      return Within(other, Op::kSub, mask);
    case Op::kXor:
      return other;
    case Op::kSub:
      return Within(mask, Op::kAnd, other);
  }
  return std::nullopt;
}

// Where two expressions with one operator differ, if they share an operand.
std::optional<Mask> DifferenceOfSiblings(const node::Binary& a, const node::Binary& b) {
  const auto within = [&](const Mask& x, const Mask& y, Op op, const Mask& shared) {
    const Mask changed = DifferenceMask(x, y);
    return a.op == Op::kXor ? changed : Within(changed, op, shared);
  };
  const Op left_shared = a.op == Op::kOr ? Op::kSub : Op::kAnd;
  const Op right_shared = a.op == Op::kAnd ? Op::kAnd : Op::kSub;
  if (IsSame(a.right, b.right)) return within(a.left, b.left, right_shared, a.right);
  if (IsSame(a.left, b.left)) return within(a.right, b.right, left_shared, a.left);
  if (a.op == Op::kSub) return std::nullopt;
  if (IsSame(a.left, b.right)) return within(a.right, b.left, left_shared, a.left);
  if (IsSame(a.right, b.left)) return within(a.left, b.right, left_shared, a.right);
  if (a.op != Op::kXor) return std::nullopt;
  return Xor(DifferenceMask(a.left, b.left), DifferenceMask(a.right, b.right));
}

// The same rows of another mask.
Mask Reordered(const node::Reorder& order, const Mask& mask) {
  node::Reorder of_mask = order;
  of_mask.mask = mask;
  return Above(mask, std::move(of_mask));
}

// Where two reordered masks differ, if their orders are one.
std::optional<Mask> DifferenceOfReordered(const node::Reorder& a, const node::Reorder& b) {
  const Mask anything = Mask::Full(a.mask.shape());
  if (Reordered(a, anything) != Reordered(b, anything)) return std::nullopt;
  const Mask difference = DifferenceMask(a.mask, b.mask);
  return IsEmpty(difference) ? difference : Reordered(a, difference);
}

std::optional<Mask> DifferenceOfParts(const Mask& a, const Mask& b) {
  const auto* x = std::get_if<node::Binary>(&a.node().expr);
  const auto* y = std::get_if<node::Binary>(&b.node().expr);
  if (y != nullptr) {
    if (auto found = DifferenceFromParent(a, *y)) return found;
  }
  if (x != nullptr) {
    if (auto found = DifferenceFromParent(b, *x)) return found;
  }
  if (x != nullptr && y != nullptr && x->op == y->op) return DifferenceOfSiblings(*x, *y);
  const auto* r = std::get_if<node::Reorder>(&a.node().expr);
  const auto* s = std::get_if<node::Reorder>(&b.node().expr);
  if (r != nullptr && s != nullptr) return DifferenceOfReordered(*r, *s);
  return std::nullopt;
}

}  // namespace

Mask DifferenceMask(const Mask& a, const Mask& b) {
  const auto [x, x_is_odd] = WithoutNegations(a);
  const auto [y, y_is_odd] = WithoutNegations(b);
  const bool is_negated = x_is_odd != y_is_odd;
  if (x == y) return is_negated ? Mask::Full(a.shape()) : Mask::Empty(a.shape());
  if (is_negated || x.node().nodes + y.node().nodes > kMostNodes) return Xor(a, b);
  if (const auto found = DifferenceOfParts(x, y)) return *found;
  return Xor(x, y);
}

}  // namespace splashmask
