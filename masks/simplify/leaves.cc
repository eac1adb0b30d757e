// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify/leaves.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "splashmask/masks/simplify/predicate_set.h"
#include "splashmask/masks/where/ranges.h"

namespace splashmask::simplify {

namespace {

constexpr Wide kFar = Wide{1} << 100;

Wide FloorModulo(Wide a, Wide b) { return a - FloorDivide(a, b) * b; }

class LeafOverDomain {
 public:
  LeafOverDomain(Terms& terms, const Mask& leaf, const Domain& domain)
      : terms_(terms), leaf_(leaf), domain_(domain) {}

  Literal operator()(const node::Full&) { return kTrue; }
  Literal operator()(const node::Empty&) { return kFalse; }
  Literal operator()(const node::Causal& n) {
    return Set(Kind::kDiagonals, LineSet::Below(Wide{n.offset} + 1));
  }
  Literal operator()(const node::Local& n) {
    const Wide begin = n.left ? Wide{n.offset} - *n.left : -kFar;
    const Wide end = n.right ? Wide{n.offset} + *n.right + 1 : kFar;
    return Set(Kind::kDiagonals, LineSet::Between(begin, end));
  }
  Literal operator()(const node::Prefix& n) { return Set(Kind::kColumns, LineSet::Below(n.n)); }
  Literal operator()(const node::QRange& n) {
    return Set(Kind::kRows, LineSet::Between(n.begin, n.end));
  }
  Literal operator()(const node::KvRange& n) {
    return Set(Kind::kColumns, LineSet::Between(n.begin, n.end));
  }
  Literal operator()(const node::ChunkedCausal& n);
  Literal operator()(const node::Stride& n);
  Literal operator()(const node::Documents& n);
  Literal operator()(const node::Segments& n);
  Literal operator()(const node::Blocks& n);
  Literal operator()(const node::Dense&) { return terms_.Leaf(leaf_); }
  Literal operator()(const node::Where& n);
  Literal operator()(const node::Custom&) { return terms_.Leaf(leaf_); }
  // Operators are no leaves.
  Literal operator()(const node::Reorder&) { return kFalse; }
  Literal operator()(const node::Not&) { return kFalse; }
  Literal operator()(const node::Binary&) { return kFalse; }

 private:
  Literal Set(Kind kind, const LineSet& set) {
    return terms_.Set(kind, set.Clip(domain_.Line(kind)));
  }
  Literal Diagonal(Wide d) { return Set(Kind::kDiagonals, LineSet::Between(d, d + 1)); }

  Terms& terms_;
  const Mask& leaf_;
  const Domain& domain_;
};

Literal LeafOverDomain::operator()(const node::ChunkedCausal& n) {
  const auto chunk_of = [&](Wide position) { return FloorDivide(position, n.chunk); };
  const Wide q_first = chunk_of(domain_.q.first), q_last = chunk_of(domain_.q.last);
  const Wide kv_first = chunk_of(domain_.kv.first), kv_last = chunk_of(domain_.kv.last);
  if (q_last < kv_first || kv_last < q_first || domain_.d.first > 0 ||
      domain_.d.last < 1 - Wide{n.chunk}) {
    return kFalse;
  }
  if (n.chunk == 1) return Diagonal(0);
  if (domain_.d.first == 0 && domain_.d.last == 0) return kTrue;
  // Where all of kv is one chunk, rows before it see nothing and rows after it must not exist;
  // where all of q is, no column after it is seen and columns before it must not exist.
  const bool is_causal =
      (kv_first == kv_last && q_last <= kv_first) || (q_first == q_last && q_first <= kv_first);
  return is_causal ? Set(Kind::kDiagonals, LineSet::Below(1)) : terms_.Leaf(leaf_);
}

Literal LeafOverDomain::operator()(const node::Stride& n) {
  if (n.step == 1) return kTrue;
  // kv - q is -phase modulo step.
  const Interval d = domain_.d;
  const auto only = [&](Wide phase) -> std::optional<Literal> {
    const Wide first = d.first + FloorModulo(-phase - d.first, n.step);
    if (first > d.last) return kFalse;
    return first + n.step > d.last ? std::optional(Diagonal(first)) : std::nullopt;
  };
  if (const std::optional<Literal> set = only(n.phase)) return *set;
  if (n.step != 2) return terms_.Leaf(leaf_);
  // The odd diagonals are what the even ones leave out.
  if (const std::optional<Literal> set = only(1 - n.phase)) return ~*set;
  return n.phase == 0 ? terms_.Leaf(leaf_) : ~terms_.Leaf(Mask::Stride(leaf_.shape(), 2, 0));
}

Literal LeafOverDomain::operator()(const node::Documents& n) {
  terms_.Spend(std::ssize(n.lengths));
  int64_t end = 0, seen = 0, zeros = 0;
  bool all_of_one = true;
  Interval only{0, -1};
  for (const int64_t length : n.lengths) {
    const Interval document{end, Wide{end} + length - 1};
    end += length;
    zeros += length == 0;
    if ((document & domain_.q).empty() || (document & domain_.kv).empty()) continue;
    ++seen;
    only = document;
    all_of_one &= length == 1;
  }
  if (seen == 0) return kFalse;
  if (seen == 1) {
    const LineSet set = LineSet::Between(only.first, only.last + 1);
    if (only.Contains(domain_.q)) return Set(Kind::kColumns, set);
    if (only.Contains(domain_.kv)) return Set(Kind::kRows, set);
  }
  if (domain_.d.first == 0 && domain_.d.last == 0) {
    return Set(Kind::kRows, LineSet::Between(0, end));
  }
  const bool no_padding = end > std::min(domain_.q.last, domain_.kv.last);
  if (all_of_one && no_padding && domain_.kv.first >= 0) return Diagonal(0);
  if (zeros == 0 || n.array) return terms_.Leaf(leaf_);
  std::vector<int64_t> lengths;
  std::ranges::copy_if(n.lengths, std::back_inserter(lengths), [](int64_t x) { return x != 0; });
  return terms_.Leaf(Mask::Documents(leaf_.shape(), std::move(lengths)));
}

// The value of all of `array` in [first, last]; nullopt when two differ.
std::optional<int64_t> OnlyValue(const Array& array, Wide first, Wide last) {
  const int64_t value = array.At(static_cast<int64_t>(first));
  for (Wide i = first + 1; i <= last; ++i) {
    if (array.At(static_cast<int64_t>(i)) != value) return std::nullopt;
  }
  return value;
}

Literal LeafOverDomain::operator()(const node::Segments& n) {
  const std::optional<int64_t> q_id = OnlyValue(n.q_ids, domain_.q.first, domain_.q.last);
  if (!q_id) return terms_.Leaf(leaf_);
  if (q_id == n.pad) return kFalse;
  const std::optional<int64_t> kv_id = OnlyValue(n.kv_ids, domain_.kv.first, domain_.kv.last);
  if (!kv_id) return terms_.Leaf(leaf_);
  return q_id == kv_id ? kTrue : kFalse;
}

Literal LeafOverDomain::operator()(const node::Blocks& n) {
  const auto block_of = [&](Wide position) { return static_cast<int64_t>(position / n.block); };
  const int64_t columns = n.bits.shape()[1];
  std::optional<bool> value;
  for (int64_t row = block_of(domain_.q.first); row <= block_of(domain_.q.last); ++row) {
    const std::byte* bits = n.bits.data() + row * columns;
    for (int64_t i = block_of(domain_.kv.first); i <= block_of(domain_.kv.last); ++i) {
      const bool bit = bits[i] != std::byte{0};
      if (value.value_or(bit) != bit) return terms_.Leaf(leaf_);
      value = bit;
    }
  }
  return *value ? kTrue : kFalse;
}

// Lengths of the documents that two documents have in common. Both begin at 0 and have padding at
// the end alone, and so have these.
std::vector<int64_t> CommonRefinement(const node::Documents& a, const node::Documents& b) {
  std::vector<int64_t> lengths;
  auto i = a.lengths.begin(), j = b.lengths.begin();
  int64_t end_a = 0, end_b = 0, end = 0;
  while (true) {
    while (i != a.lengths.end() && end_a == end) end_a += *i++;
    while (j != b.lengths.end() && end_b == end) end_b += *j++;
    const int64_t next = std::min(end_a, end_b);
    if (next == end) return lengths;
    lengths.push_back(next - end);
    end = next;
  }
}

bool SameLengths(const std::vector<int64_t>& refined, const node::Documents& documents) {
  std::vector<int64_t> lengths = documents.lengths;
  std::erase(lengths, 0);
  return lengths == refined;
}

struct Congruence {
  Wide phase, step;
};

// The numbers that are a.phase modulo a.step and b.phase modulo b.step; nullopt when there are
// none. The Chinese remainder theorem; the steps are below 2^63.
std::optional<Congruence> CommonNumbers(Congruence a, Congruence b) {
  // x a.step + y b.step = divisor.
  Wide divisor = a.step, other = b.step, x = 1, next_x = 0;
  while (other != 0) {
    const Wide quotient = divisor / other;
    divisor = std::exchange(other, divisor - quotient * other);
    x = std::exchange(next_x, x - quotient * next_x);
  }
  if ((b.phase - a.phase) % divisor != 0) return std::nullopt;
  const Wide step = std::max<Wide>(b.step / divisor, 1);
  const Wide times = FloorModulo((b.phase - a.phase) / divisor % step * (x % step), step);
  return Congruence{a.phase + a.step * times, a.step * step};
}

Literal LeafOverDomain::operator()(const node::Where& n) {
  const auto set = SetOfPredicate(terms_, n.predicate, leaf_.shape(), domain_);
  return set ? *set : terms_.Leaf(leaf_);
}

}  // namespace

Literal NormalLeaf(Terms& terms, const Mask& leaf, const Domain& domain) {
  return std::visit(LeafOverDomain(terms, leaf, domain), leaf.node().expr);
}

Domain BoxOf(const Mask& leaf, const Domain& domain) {
  if (const auto* chunked = std::get_if<node::ChunkedCausal>(&leaf.node().expr)) {
    return {domain.q, domain.kv, Interval{1 - Wide{chunked->chunk}, 0} & domain.d};
  }
  if (const auto* documents = std::get_if<node::Documents>(&leaf.node().expr)) {
    Wide end = 0, longest = 0;
    for (const int64_t length : documents->lengths) {
      end += length;
      longest = std::max(longest, Wide{length});
    }
    const Interval tokens{0, end - 1};
    return Domain{tokens, tokens, {1 - longest, longest - 1}} & domain;
  }
  return domain;
}

Relation RelationOf(Terms& terms, const Mask& first, const Mask& second) {
  const MaskExpr &x = first.node().expr, &y = second.node().expr;
  if (x.index() != y.index()) return {};
  if (const auto* a = std::get_if<node::ChunkedCausal>(&x)) {
    return {std::get<node::ChunkedCausal>(y).chunk % a->chunk == 0, false};
  }
  if (const auto* a = std::get_if<node::Stride>(&x)) {
    const auto& b = std::get<node::Stride>(y);
    return {a->step % b.step == 0 && a->phase % b.step == b.phase,
            (a->phase - b.phase) % std::gcd(a->step, b.step) != 0};
  }
  if (const auto* a = std::get_if<node::Documents>(&x)) {
    const auto& b = std::get<node::Documents>(y);
    terms.Spend(std::ssize(a->lengths) + std::ssize(b.lengths));
    return {SameLengths(CommonRefinement(*a, b), *a), false};
  }
  return {};
}

std::optional<Literal> IntersectLeaves(Terms& terms, const Mask& a, const Mask& b,
                                       const Domain& domain) {
  const MaskExpr &x = a.node().expr, &y = b.node().expr;
  if (x.index() != y.index()) return std::nullopt;
  if (const auto* documents = std::get_if<node::Documents>(&x)) {
    const auto& others = std::get<node::Documents>(y);
    terms.Spend(std::ssize(documents->lengths) + std::ssize(others.lengths));
    std::vector<int64_t> lengths = CommonRefinement(*documents, others);
    // Where one of them is the answer it keeps its name.
    if (SameLengths(lengths, *documents)) return NormalLeaf(terms, a, domain);
    if (SameLengths(lengths, others)) return NormalLeaf(terms, b, domain);
    return NormalLeaf(terms, Mask::Documents(a.shape(), std::move(lengths)), domain);
  }
  if (const auto* stride = std::get_if<node::Stride>(&x)) {
    const auto& other = std::get<node::Stride>(y);
    const auto common = CommonNumbers({stride->phase, stride->step}, {other.phase, other.step});
    if (!common) return kFalse;
    if (common->step <= std::numeric_limits<int64_t>::max()) {
      return NormalLeaf(terms,
                        Mask::Stride(a.shape(), static_cast<int64_t>(common->step),
                                     static_cast<int64_t>(common->phase)),
                        domain);
    }
    const Wide first = domain.d.first + FloorModulo(-common->phase - domain.d.first, common->step);
    if (first > domain.d.last) return kFalse;
    if (first + common->step > domain.d.last) {
      return terms.Set(Kind::kDiagonals, LineSet::Between(first, first + 1).Clip(domain.d));
    }
  }
  return std::nullopt;
}

}  // namespace splashmask::simplify
