// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/rewriter.h"

#include <map>
#include <variant>

#include "splashmask/masks/simplify/conjunction.h"
#include "splashmask/masks/simplify/leaves.h"

namespace splashmask::simplify {

namespace {

const node::Binary* AsBinary(const Mask& mask, node::Op op) {
  const auto* binary = std::get_if<node::Binary>(&mask.node().expr);
  return binary != nullptr && binary->op == op ? binary : nullptr;
}

}  // namespace

Literal Rewriter::Normalize(const Mask& mask, uint32_t domain) {
  const auto* inverse = std::get_if<node::Not>(&mask.node().expr);
  if (inverse != nullptr) return ~Normalize(inverse->mask, domain);
  const Key key{&mask.node(), domain};
  if (const auto found = known_.find(key); found != known_.end()) return found->second;
  const Literal literal =
      std::visit(Overloaded{
                     [&](const node::Binary& n) {
                       switch (n.op) {
                         case node::Op::kAnd:
                         case node::Op::kSub:
                           return NormalizeAnd(mask, false, domain);
                         case node::Op::kOr:
                           return ~NormalizeAnd(mask, true, domain);
                         default:
                           return NormalizeXor(mask, domain);
                       }
                     },
                     [&](const node::Reorder& n) { return NormalizeReorder(n, domain); },
                     [&](const auto&) { return NormalLeaf(terms_, mask, domains_[domain]); },
                 },
                 mask.node().expr);
  known_.emplace(key, literal);
  return literal;
}

// The operands of a tree of `and`, where `or` below an odd number of `~` is one too.
Literal Rewriter::NormalizeAnd(const Mask& mask, bool negated, uint32_t domain) {
  std::vector<Literal> parts;
  std::vector<std::pair<const Mask*, bool>> open = {{&mask, negated}};
  while (!open.empty()) {
    const Mask& next = *open.back().first;
    const bool negate = open.back().second;
    open.pop_back();
    if (const auto* inverse = std::get_if<node::Not>(&next.node().expr)) {
      open.push_back({&inverse->mask, !negate});
    } else if (const auto* pair = AsBinary(next, negate ? node::Op::kOr : node::Op::kAnd)) {
      open.push_back({&pair->left, negate});
      open.push_back({&pair->right, negate});
    } else if (const auto* difference = AsBinary(next, node::Op::kSub); difference && !negate) {
      open.push_back({&difference->left, false});
      open.push_back({&difference->right, true});
    } else {
      parts.push_back(Normalize(next, domain) ^ negate);
    }
  }
  return And(std::move(parts), domain);
}

Literal Rewriter::NormalizeXor(const Mask& mask, uint32_t domain) {
  std::vector<Literal> parts;
  std::vector<const Mask*> open = {&mask};
  bool negated = false;
  while (!open.empty()) {
    const Mask& next = *open.back();
    open.pop_back();
    if (const auto* inverse = std::get_if<node::Not>(&next.node().expr)) {
      negated = !negated;
      open.push_back(&inverse->mask);
    } else if (const auto* pair = AsBinary(next, node::Op::kXor)) {
      open.push_back(&pair->left);
      open.push_back(&pair->right);
    } else {
      parts.push_back(Normalize(next, domain));
    }
  }
  return Xor(std::move(parts), domain) ^ negated;
}

Literal Rewriter::NormalizeReorder(const node::Reorder& reorder, uint32_t domain) {
  node::Reorder moved = reorder;
  if (moved.q && node::IsIdentity(moved.q->positions)) moved.q.reset();  // Not of int32.
  if (!moved.q && !moved.kv) return Normalize(reorder.mask, domain);
  const uint32_t order = OrderOf(moved, domain);
  return Reorder(Normalize(reorder.mask, order + 1), order, domain);
}

uint32_t Rewriter::OrderOf(const node::Reorder& reorder, uint32_t domain) {
  const uint32_t order = terms_.OrderOf(reorder, domain);
  if (order + 1 == domains_.size()) domains_.push_back(Domain::Of(reorder, domains_[domain]));
  return order;
}

Literal Rewriter::Reorder(Literal mask, uint32_t order, uint32_t domain) {
  const Term& term = terms_[mask];
  const node::Reorder& by = terms_.Order(order);
  const bool stays = term.kind == Kind::kTrue || (term.kind == Kind::kColumns && !by.kv) ||
                     (term.kind == Kind::kRows && !by.q);
  if (stays) return mask;
  if (term.kind != Kind::kReorder) return terms_.Reorder(mask, order);
  // Two reorderings are one, at fewer positions than the inner one.
  const Mask inner = Writer(terms_, domains_, shape_).Write(term.parts[0], term.order + 1);
  const auto reorder = [](const Mask& below, const node::Reorder& order_of) {
    std::optional<Positions> q, kv;
    if (order_of.q) q = Positions::FromArray(order_of.q->positions);
    if (order_of.kv) kv = Positions::FromArray(order_of.kv->positions);
    return below.Reorder(q, kv);
  };
  kept_.push_back(reorder(reorder(inner, terms_.Order(term.order)), by));
  return Normalize(kept_.back(), domain) ^ mask.negated();
}

Literal Rewriter::And(std::vector<Literal> parts, uint32_t domain) {
  return Conjunction(*this, domain).Make(std::move(parts));
}

bool Rewriter::JoinReorders(std::vector<Literal>* parts, bool is_xor, uint32_t domain) {
  std::map<uint32_t, std::vector<Literal>> by_order;
  std::vector<Literal> others;
  for (const Literal part : *parts) {
    const Term& term = terms_[part];
    if (term.kind == Kind::kReorder) {
      by_order[term.order].push_back(term.parts[0] ^ part.negated());
    } else {
      others.push_back(part);
    }
  }
  const bool moves_columns = by_order.size() == 1 && others.size() == 1 &&
                             terms_[others[0]].kind == Kind::kColumns &&
                             !terms_.Order(by_order.begin()->first).kv;
  if (moves_columns) {
    by_order.begin()->second.push_back(others[0]);
    others.clear();
  }
  bool joined = false;
  for (const auto& [order, below] : by_order) {
    Literal both = below[0];
    if (below.size() > 1) {
      joined = true;
      both = is_xor ? Xor(below, order + 1) : And(below, order + 1);
    }
    others.push_back(Reorder(both, order, domain));
  }
  if (joined) *parts = std::move(others);
  return joined;
}

}  // namespace splashmask::simplify
