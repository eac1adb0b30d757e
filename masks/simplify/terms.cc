// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/terms.h"

#include <algorithm>
#include <string>
#include <tuple>

#include "splashmask/masks/simplify/array_order.h"

namespace splashmask::simplify {

namespace {

constexpr int64_t kMostSteps = int64_t{1} << 27;  // About a second.

size_t MixHash(size_t seed, uint64_t value) {
  uint64_t x = (seed ^ value) * 0x9e3779b97f4a7c15;
  x ^= x >> 29;
  x *= 0xd6e8feb86659fd93;
  return x ^ (x >> 32);
}

size_t HashTerm(const Term& term) {
  size_t hash = MixHash(static_cast<size_t>(term.kind), term.order);
  for (const Wide flip : term.flips) hash = MixHash(hash, static_cast<uint64_t>(flip));
  for (const Literal part : term.parts) hash = MixHash(hash, part.code());
  return hash;
}

template <typename T>
int CompareValues(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

// Lengths of 0 change nothing.
int CompareLengths(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  auto i = a.begin(), j = b.begin();
  while (true) {
    while (i != a.end() && *i == 0) ++i;
    while (j != b.end() && *j == 0) ++j;
    if (i == a.end() || j == b.end()) return CompareValues(i != a.end(), j != b.end());
    if (*i != *j) return *i < *j ? -1 : 1;
    ++i, ++j;
  }
}

// Which of two documents leaves that say the same is kept: one that names an array.
bool IsBetterName(const Mask& mask, const Mask& than) {
  const auto* a = std::get_if<node::Documents>(&mask.node().expr);
  const auto* b = std::get_if<node::Documents>(&than.node().expr);
  if (a == nullptr || b == nullptr || !a->array) return false;
  return !b->array || CompareArrays(*a->array, *b->array) < 0;
}

}  // namespace

int Terms::CompareLeaves(const Term& x, const Term& y) {
  const MaskExpr &expr = x.leaf->node().expr, &other = y.leaf->node().expr;
  if (expr.index() != other.index()) {
    return CompareValues(expr.index(), other.index());
  }
  return std::visit(
      Overloaded{
          [&](const node::ChunkedCausal& a) {
            return CompareValues(a.chunk, std::get<node::ChunkedCausal>(other).chunk);
          },
          [&](const node::Stride& a) {
            const auto& b = std::get<node::Stride>(other);
            return CompareValues(std::tie(a.step, a.phase), std::tie(b.step, b.phase));
          },
          [&](const node::Documents& a) {
            return CompareLengths(a.lengths, std::get<node::Documents>(other).lengths);
          },
          [&](const node::Segments& a) {
            const auto& b = std::get<node::Segments>(other);
            if (a.pad != b.pad) return CompareValues(a.pad, b.pad);
            const int q = CompareArrays(a.q_ids, b.q_ids);
            return q != 0 ? q : CompareArrays(a.kv_ids, b.kv_ids);
          },
          [&](const node::Blocks& a) {
            const auto& b = std::get<node::Blocks>(other);
            return a.block != b.block ? CompareValues(a.block, b.block)
                                      : CompareArrays(a.bits, b.bits);
          },
          [&](const node::Dense& a) {
            return CompareArrays(a.array, std::get<node::Dense>(other).array);
          },
          [&](const node::Where& a) {
            return a.predicate.text().compare(std::get<node::Where>(other).predicate.text());
          },
          [&](const node::Custom& a) {
            const std::string name = a.function->name();
            const std::string other_name = std::get<node::Custom>(other).function->name();
            return name != other_name ? name.compare(other_name)
                                      : CompareValues(x.function, y.function);
          },
          // No term is one of these.
          [](const node::Full&) { return 0; },
          [](const node::Empty&) { return 0; },
          [](const node::Causal&) { return 0; },
          [](const node::Local&) { return 0; },
          [](const node::Prefix&) { return 0; },
          [](const node::QRange&) { return 0; },
          [](const node::KvRange&) { return 0; },
          [](const node::Reorder&) { return 0; },
          [](const node::Not&) { return 0; },
          [](const node::Binary&) { return 0; },
      },
      expr);
}

Literal Terms::Set(Kind kind, const LineSet& set) {
  if (set.flips().empty()) return set.starts() ? kTrue : kFalse;
  Term term{kind};
  term.flips = set.flips();
  return Intern(std::move(term)) ^ set.starts();
}

Literal Terms::Leaf(const Mask& leaf) {
  Term term{Kind::kLeaf};
  term.leaf = leaf;
  const auto* custom = std::get_if<node::Custom>(&leaf.node().expr);
  if (custom != nullptr) term.function = FunctionNumber(custom->function);
  SetCost(&term);
  const auto [found, is_new] = leaves_.try_emplace(term, static_cast<uint32_t>(terms_.size()));
  const Literal literal(found->second);
  if (is_new) {
    terms_.push_back(std::move(term));
  } else if (std::optional<Mask>& kept = terms_[literal.term()].leaf; IsBetterName(leaf, *kept)) {
    kept = leaf;
  }
  return literal;
}

Literal Terms::Reorder(Literal mask, uint32_t order) {
  Term term{Kind::kReorder};
  term.parts = {mask ^ mask.negated()};
  term.order = order;
  return Intern(std::move(term)) ^ mask.negated();
}

Literal Terms::Operator(Kind kind, std::vector<Literal> parts) {
  Sort(&parts);
  Term term{kind};
  term.parts = std::move(parts);
  return Intern(std::move(term));
}

Literal Terms::Intern(Term term) {
  Spend(static_cast<int64_t>(term.flips.size() + term.parts.size()) + 1);
  const size_t hash = HashTerm(term);
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const Term& other = terms_[it->second];
    if (other.kind == term.kind && other.order == term.order && other.flips == term.flips &&
        other.parts == term.parts) {
      return Literal(it->second);
    }
  }
  SetCost(&term);
  const auto index = static_cast<uint32_t>(terms_.size());
  terms_.push_back(std::move(term));
  by_hash_.emplace(hash, index);
  return Literal(index);
}

void Terms::SetCost(Term* term) const {
  std::array<int64_t, 2>& costs = term->cost;
  switch (term->kind) {
    case Kind::kTrue:
      break;
    case Kind::kDiagonals:
    case Kind::kColumns:
    case Kind::kRows: {
      // A union of intervals, or what such a union leaves out.
      const auto flips = static_cast<int64_t>(term->flips.size());
      costs = {flips - (flips % 2 == 0 ? 1 : 0), flips};
      break;
    }
    case Kind::kLeaf: {
      const auto* stride = std::get_if<node::Stride>(&term->leaf->node().expr);
      costs = {1, stride != nullptr && stride->step == 2 ? 1 : 2};
      break;
    }
    case Kind::kReorder:
      costs = {1 + cost(term->parts[0]), 1 + cost(~term->parts[0])};
      break;
    case Kind::kXor:
    case Kind::kAnd: {
      // Each part as it is, or negated, whichever is shorter: a - b instead of a & ~b. One part of
      // an `and` has to be as it is, all parts of an `or` have to be negated; a `~` settles it.
      int64_t shortest = static_cast<int64_t>(term->parts.size()) - 1;
      bool any_as_is = false, any_negated = false, any_either = false, odd = false;
      for (const Literal part : term->parts) {
        const int64_t as_is = cost(part), negated = cost(~part);
        shortest += std::min(as_is, negated);
        any_as_is |= as_is <= negated;
        any_negated |= as_is < negated;
        any_either |= as_is == negated;
        odd ^= negated < as_is;
      }
      if (term->kind == Kind::kAnd) {
        costs = {shortest + (any_as_is ? 0 : 1), shortest + (any_negated ? 1 : 0)};
      } else {
        costs = {shortest + (odd && !any_either ? 1 : 0), shortest + (!odd && !any_either ? 1 : 0)};
      }
      break;
    }
  }
}

namespace {

int CompareOrders(const std::optional<node::Order>& a, const std::optional<node::Order>& b) {
  if (!a || !b) return CompareValues(a.has_value(), b.has_value());
  return CompareArrays(a->positions, b->positions);
}

}  // namespace

int Terms::CompareOrdersOf(uint32_t a, uint32_t b) const {
  const node::Reorder &x = orders_[a].reorder, &y = orders_[b].reorder;
  if (const int q = CompareOrders(x.q, y.q)) return q;
  if (const int kv = CompareOrders(x.kv, y.kv)) return kv;
  return CompareValues(orders_[a].domain, orders_[b].domain);
}

uint32_t Terms::OrderOf(const node::Reorder& reorder, uint32_t domain) {
  Spend(static_cast<int64_t>(orders_.size()));
  // Where both axes are reordered, it does not matter where it is asked.
  if (reorder.q && reorder.kv) domain = 0;
  // A layout says more than an array of its positions; zigzag comes before striped.
  const auto keep_better = [](std::optional<node::Order>* known, const auto& order) {
    const auto rank = [](const Positions& written) {
      return std::pair(written.kind == Positions::Kind::kArray ? 1 : 0, written.kind);
    };
    if (order && rank(order->written) < rank((*known)->written)) *known = order;
  };
  for (uint32_t order = 0; order < orders_.size(); ++order) {
    PlacedOrder& known = orders_[order];
    if (known.domain != domain || CompareOrders(known.reorder.q, reorder.q) != 0 ||
        CompareOrders(known.reorder.kv, reorder.kv) != 0) {
      continue;
    }
    keep_better(&known.reorder.q, reorder.q);
    keep_better(&known.reorder.kv, reorder.kv);
    return order;
  }
  orders_.push_back({reorder, domain});
  return static_cast<uint32_t>(orders_.size() - 1);
}

int Terms::Compare(Literal a, Literal b) const {
  if (a.term() == b.term()) return CompareValues(a.negated(), b.negated());
  const Term &x = (*this)[a], &y = (*this)[b];
  if (x.kind != y.kind) return CompareValues(x.kind, y.kind);
  if (x.cost != y.cost) return CompareValues(x.cost, y.cost);
  switch (x.kind) {
    case Kind::kTrue:
      return 0;
    case Kind::kDiagonals:
    case Kind::kColumns:
    case Kind::kRows:
      return CompareValues(x.flips, y.flips);
    case Kind::kLeaf:
      return CompareLeaves(x, y);
    case Kind::kReorder:
      if (x.order != y.order) return CompareOrdersOf(x.order, y.order);
      break;
    case Kind::kXor:
    case Kind::kAnd:
      if (x.parts.size() != y.parts.size()) return CompareValues(x.parts.size(), y.parts.size());
      break;
  }
  for (size_t i = 0; i < x.parts.size(); ++i) {
    if (x.parts[i] != y.parts[i]) return Compare(x.parts[i], y.parts[i]);
  }
  return 0;
}

void Terms::Sort(std::vector<Literal>* literals) const {
  std::sort(literals->begin(), literals->end(),
            [this](Literal a, Literal b) { return Compare(a, b) < 0; });
}

void Terms::Spend(int64_t steps) {
  steps_ += steps;
  if (steps_ > kMostSteps) throw GiveUp();
}

size_t Terms::FunctionNumber(const std::shared_ptr<const CustomFunction>& function) {
  Spend(static_cast<int64_t>(functions_.size()));
  const auto found = std::find_if(functions_.begin(), functions_.end(), [&](const auto& known) {
    return known == function || known->Equals(*function);
  });
  if (found == functions_.end()) functions_.push_back(function);
  return static_cast<size_t>(found - functions_.begin());
}

}  // namespace splashmask::simplify
