// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/writer.h"

#include <algorithm>
#include <span>
#include <utility>

#include "splashmask/masks/simplify/write_set.h"

namespace splashmask::simplify {

namespace {

// Expressions are written from left to right up to this depth: (a & b) & c. Deeper ones are
// balanced, with the deepest operand last.
constexpr int kDeepestChain = 64;

int Depth(const Mask& mask) { return mask.node().depth; }

Mask Pair(node::Op op, const Mask& left, const Mask& right) {
  if (std::max(Depth(left), Depth(right)) >= kMaxMaskDepth) throw GiveUp();
  if (left.node().nodes + right.node().nodes >= kMaxMaskNodes) throw GiveUp();
  switch (op) {
    case node::Op::kAnd:
      return left & right;
    case node::Op::kOr:
      return left | right;
    case node::Op::kXor:
      return left ^ right;
    default:
      return left - right;
  }
}

Mask Inverse(const Mask& mask) {
  if (Depth(mask) >= kMaxMaskDepth || mask.node().nodes >= kMaxMaskNodes) throw GiveUp();
  return ~mask;
}

int ChainDepth(std::span<const Mask> masks) {
  int depth = Depth(masks[0]);
  for (const Mask& mask : masks.subspan(1)) depth = std::max(depth, Depth(mask)) + 1;
  return depth;
}

Mask Chain(node::Op op, std::span<const Mask> masks) {
  Mask chain = masks[0];
  for (const Mask& mask : masks.subspan(1)) chain = Pair(op, chain, mask);
  return chain;
}

Mask Balanced(node::Op op, std::span<const Mask> masks) {
  if (masks.size() == 1) return masks[0];
  const size_t half = masks.size() / 2;
  return Pair(op, Balanced(op, masks.first(half)), Balanced(op, masks.subspan(half)));
}

// Takes the deepest mask away.
Mask TakeDeepest(std::vector<Mask>* masks) {
  const auto deepest = std::ranges::max_element(*masks, {}, Depth);
  const Mask taken = *deepest;
  masks->erase(deepest);
  return taken;
}

Mask Join(node::Op op, std::vector<Mask> masks) {
  if (masks.size() == 1 || ChainDepth(masks) <= kDeepestChain) return Chain(op, masks);
  const Mask deepest = TakeDeepest(&masks);
  return Pair(op, Balanced(op, masks), deepest);
}

// All of `masks` and none of `without`; at least one of `masks`.
Mask JoinWithout(std::vector<Mask> masks, std::vector<Mask> without) {
  if (without.empty()) return Join(node::Op::kAnd, std::move(masks));
  // a & b - c needs no parentheses.
  std::vector<Mask> last = {masks.back()};
  last.insert(last.end(), without.begin(), without.end());
  if (ChainDepth(last) + std::ssize(masks) <= kDeepestChain &&
      ChainDepth(masks) + std::ssize(without) <= kDeepestChain) {
    masks.back() = Chain(node::Op::kSub, last);
    return Chain(node::Op::kAnd, masks);
  }
  const int deepest_without = Depth(*std::ranges::max_element(without, {}, Depth));
  if (masks.size() > 1 && Depth(*std::ranges::max_element(masks, {}, Depth)) > deepest_without) {
    const Mask deepest = TakeDeepest(&masks);
    return Pair(
        node::Op::kAnd,
        Pair(node::Op::kSub, Balanced(node::Op::kAnd, masks), Balanced(node::Op::kOr, without)),
        deepest);
  }
  const Mask deepest = TakeDeepest(&without);
  Mask rest = Balanced(node::Op::kAnd, masks);
  if (!without.empty()) rest = Pair(node::Op::kSub, rest, Balanced(node::Op::kOr, without));
  return Pair(node::Op::kSub, rest, deepest);
}

}  // namespace

Mask Writer::Write(Literal literal, uint32_t domain) {
  const uint64_t key = uint64_t{domain} << 32 | literal.code();
  if (const auto found = written_.find(key); found != written_.end()) return found->second;
  return written_.emplace(key, WriteNew(literal, domain)).first->second;
}

Mask Writer::WriteNew(Literal literal, uint32_t domain) {
  const Term& term = terms_[literal];
  switch (term.kind) {
    case Kind::kTrue:
      return literal.negated() ? Mask::Empty(shape_) : Mask::Full(shape_);
    case Kind::kDiagonals:
    case Kind::kColumns:
    case Kind::kRows:
      return WriteSet(literal, domains_[domain]);
    case Kind::kLeaf: {
      const auto* stride = std::get_if<node::Stride>(&term.leaf->node().expr);
      if (!literal.negated()) return *term.leaf;
      if (stride == nullptr || stride->step != 2) return ~*term.leaf;
      return Mask::Stride(shape_, 2, 1 - stride->phase);
    }
    case Kind::kReorder: {
      const Mask below = Write(term.parts[0] ^ literal.negated(), term.order + 1);
      if (Depth(below) >= kMaxMaskDepth) throw GiveUp();
      const node::Reorder& order = terms_.Order(term.order);
      const auto written = [](const std::optional<node::Order>& axis) {
        return axis ? std::optional(axis->written) : std::nullopt;
      };
      return below.Reorder(written(order.q), written(order.kv));
    }
    case Kind::kXor:
      return WriteXor(term, literal.negated(), domain);
    case Kind::kAnd:
      return literal.negated() ? WriteOr(term.parts, domain) : WriteAnd(term.parts, domain);
  }
  throw GiveUp();
}

Mask Writer::WriteSet(Literal literal, const Domain& domain) {
  const Kind kind = terms_[literal].kind;
  const LineSet set = terms_.SetOf(literal);
  // A set that goes on at both ends is what a union leaves out.
  const bool inverted = set.starts() && set.flips().size() % 2 == 0;
  const Interval& line = domain.Line(kind);
  if (kind == Kind::kDiagonals && inverted && line.last - line.first == 2) {
    // All but the middle one of three.
    return Mask::Stride(shape_, 2, line.first % 2 == 0 ? 0 : 1);
  }
  std::vector<Mask> pieces;
  for (const Interval& piece : (inverted ? set.Complement() : set).Pieces(line)) {
    pieces.push_back(WritePiece(kind, piece, shape_, domain));
  }
  const Mask all = Join(node::Op::kOr, std::move(pieces));
  return inverted ? Inverse(all) : all;
}

std::vector<Mask> Writer::WriteAll(const std::vector<Literal>& literals, uint32_t domain) {
  std::vector<Mask> masks;
  masks.reserve(literals.size());
  for (const Literal literal : literals) masks.push_back(Write(literal, domain));
  return masks;
}

Mask Writer::WriteAnd(const std::vector<Literal>& parts, uint32_t domain) {
  std::vector<Literal> as_is, without;
  for (const Literal part : parts) {
    if (terms_.cost(part) <= terms_.cost(~part)) {
      as_is.push_back(part);
    } else {
      without.push_back(~part);
    }
  }
  if (as_is.empty()) return Inverse(Join(node::Op::kOr, WriteAll(without, domain)));
  return JoinWithout(WriteAll(as_is, domain), WriteAll(without, domain));
}

Mask Writer::WriteOr(const std::vector<Literal>& parts, uint32_t domain) {
  std::vector<Literal> direct, inverted;
  for (const Literal part : parts) {
    if (terms_.cost(~part) <= terms_.cost(part)) {
      direct.push_back(~part);
    } else {
      inverted.push_back(part);
    }
  }
  std::vector<Mask> masks = WriteAll(direct, domain);
  if (!inverted.empty()) {
    masks.push_back(Inverse(Join(node::Op::kAnd, WriteAll(inverted, domain))));
  }
  return Join(node::Op::kOr, std::move(masks));
}

Mask Writer::WriteXor(const Term& term, bool negated, uint32_t domain) {
  std::vector<Literal> parts;
  bool odd = negated;
  Literal* either = nullptr;
  parts.reserve(term.parts.size());
  for (const Literal part : term.parts) {
    const bool shorter_negated = terms_.cost(~part) < terms_.cost(part);
    odd ^= shorter_negated;
    parts.push_back(part ^ shorter_negated);
    if (terms_.cost(~part) == terms_.cost(part)) either = &parts.back();
  }
  if (odd && either != nullptr) {
    *either = ~*either;
    odd = false;
  }
  const Mask all = Join(node::Op::kXor, WriteAll(parts, domain));
  return odd ? Inverse(all) : all;
}

}  // namespace splashmask::simplify
