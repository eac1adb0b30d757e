// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/explain.h"

#include <fmt/format.h>

#include <limits>
#include <string_view>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/where/explain_predicate.h"

namespace splashmask {

namespace {

// Wide enough for the sum of any three 64-bit integers.
__extension__ typedef __int128 Wide;

int64_t FloorDiv(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// " + 5", " - 5", or nothing for 0.
std::string Plus(Wide n) {
  if (n == 0) return "";
  return fmt::format(" {} {}", n < 0 ? '-' : '+', static_cast<uint64_t>(n < 0 ? -n : n));
}

struct Leaf {
  bool value = false;
  std::string reason;
};

Leaf Statement(bool value, std::string text) {
  return {value, value ? std::move(text) : text + " is false"};
}

// begin <= position < end
Leaf InRange(int64_t begin, int64_t position, int64_t end) {
  if (position < begin) return Statement(false, fmt::format("{} <= {}", begin, position));
  if (position >= end) return Statement(false, fmt::format("{} < {}", position, end));
  return Statement(true, fmt::format("{} <= {} < {}", begin, position, end));
}

// What one leaf says of (q, kv); an overload for each kind.
class LeafAt {
 public:
  LeafAt(Shape shape, int64_t q, int64_t kv) : shape_(shape), q_(q), kv_(kv) {}

  Leaf operator()(const node::Full&) const { return {true, "always"}; }
  Leaf operator()(const node::Empty&) const { return {false, "never"}; }

  Leaf operator()(const node::Causal& n) const {
    return Statement(Wide{q_} + n.offset >= kv_,
                     fmt::format("{}{} >= {}", q_, Plus(n.offset), kv_));
  }

  Leaf operator()(const node::Local& n) const {
    const Wide center = Wide{q_} + n.offset;
    const std::string text = fmt::format("{}{}", q_, Plus(n.offset));
    std::string first, last;
    if (n.left) {
      first = fmt::format("{}{} <= ", text, Plus(-Wide{*n.left}));
      if (center - *n.left > kv_) return Statement(false, fmt::format("{}{}", first, kv_));
    }
    if (n.right) {
      last = fmt::format(" <= {}{}", text, Plus(*n.right));
      if (kv_ > center + *n.right) return Statement(false, fmt::format("{}{}", kv_, last));
    }
    if (!n.left && !n.right) return {true, "unbounded on both sides"};
    return {true, fmt::format("{}{}{}", first, kv_, last)};
  }

  Leaf operator()(const node::ChunkedCausal& n) const {
    const int64_t q_chunk = FloorDiv(q_, n.chunk), kv_chunk = FloorDiv(kv_, n.chunk);
    if (q_chunk != kv_chunk) {
      return {false, fmt::format("q in chunk {}, kv in chunk {}", q_chunk, kv_chunk)};
    }
    return Statement(q_ >= kv_, fmt::format("q and kv in chunk {}, {} >= {}", q_chunk, q_, kv_));
  }

  Leaf operator()(const node::Prefix& n) const {
    return Statement(kv_ < n.n, fmt::format("{} < {}", kv_, n.n));
  }
  Leaf operator()(const node::QRange& n) const { return InRange(n.begin, q_, n.end); }
  Leaf operator()(const node::KvRange& n) const { return InRange(n.begin, kv_, n.end); }

  Leaf operator()(const node::Stride& n) const {
    Wide remainder = (Wide{q_} - kv_) % n.step;
    if (remainder < 0) remainder += n.step;
    std::string text =
        fmt::format("({} - {}) mod {} = {}", q_, kv_, n.step, static_cast<int64_t>(remainder));
    if (remainder == n.phase) return {true, std::move(text)};
    return {false, fmt::format("{}, not {}", text, n.phase)};
  }

  Leaf operator()(const node::Documents& n) const {
    int64_t begin = 0;
    std::optional<size_t> q_document, kv_document;
    std::string q_text = fmt::format("q {} in no document", q_);
    std::string kv_text = fmt::format("kv {} in no document", kv_);
    for (size_t document = 0; document < n.lengths.size(); ++document) {
      const int64_t end = begin + n.lengths[document];
      const auto text = [&](std::string_view axis, int64_t position) {
        return fmt::format("{} {} in document {} [{}, {})", axis, position, document, begin, end);
      };
      if (begin <= q_ && q_ < end) {
        q_document = document;
        q_text = text("q", q_);
      }
      if (begin <= kv_ && kv_ < end) {
        kv_document = document;
        kv_text = text("kv", kv_);
      }
      begin = end;
    }
    const bool value = q_document && q_document == kv_document;
    if (value) kv_text = fmt::format("kv {} in document {}", kv_, *kv_document);
    return {value, fmt::format("{}, {}", q_text, kv_text)};
  }

  Leaf operator()(const node::Segments& n) const {
    const int64_t q_id = n.q_ids.At(q_), kv_id = n.kv_ids.At(kv_);
    const bool is_padding = q_id == kv_id && q_id == n.pad;
    return {q_id == kv_id && !is_padding, fmt::format("q id {}, kv id {}{}", q_id, kv_id,
                                                      is_padding ? ", which is padding" : "")};
  }

  Leaf operator()(const node::Blocks& n) const {
    const int64_t q_block = q_ / n.block, kv_block = kv_ / n.block;
    const bool value = n.bits.At(q_block * n.bits.shape()[1] + kv_block) != 0;
    return {value,
            fmt::format("block ({}, {}) is {}", q_block, kv_block, value ? "set" : "not set")};
  }

  Leaf operator()(const node::Dense& n) const {
    const bool value = n.array.At(q_ * n.array.shape()[1] + kv_) != 0;
    return {value, fmt::format("[{}, {}] = {}", q_, kv_, value)};
  }

  Leaf operator()(const node::Where& n) const {
    PredicateReason reason = ExplainPredicate(n.predicate, shape_, q_, kv_);
    return {reason.value, std::move(reason.text)};
  }

  Leaf operator()(const node::Custom& n) const {
    std::byte cell{};
    n.function->Evaluate({&q_, 1}, kv_, kv_ + 1, &cell);
    const bool value = cell != std::byte{0};
    return {value, fmt::format("the function says {} at ({}, {})", value, q_, kv_)};
  }

 private:
  Shape shape_;
  int64_t q_, kv_;
};

// The operands that an operator chains, from left to right.
std::vector<Mask> Chain(const Mask& mask, node::Op op) {
  std::vector<Mask> reversed;
  const Mask* left = &mask;
  for (;;) {
    const auto* binary = std::get_if<node::Binary>(&left->node().expr);
    if (binary == nullptr || binary->op != op) break;
    reversed.push_back(binary->right);
    left = &binary->left;
  }
  reversed.push_back(*left);
  return {reversed.rbegin(), reversed.rend()};
}

// Every operator but ^ is a conjunction of its operands or their negations, negated for |. Whether
// the operand number `i`, which is `value`, leaves that conjunction true.
bool Joins(node::Op op, size_t i, bool value) {
  return op == node::Op::kOr || (op == node::Op::kSub && i > 0) ? !value : value;
}

class Explainer {
 public:
  // Appends `mask` and all below it; returns the index of its part.
  size_t Visit(const Mask& mask, int64_t q, int64_t kv, int depth) {
    const size_t index = parts_.size();
    parts_.push_back({mask, depth, q, kv, false, false, ""});
    choices_.emplace_back();
    std::visit(Overloaded{
                   [&](const node::Not& n) {
                     const size_t child = Visit(n.mask, q, kv, depth + 1);
                     parts_[index].value = !parts_[child].value;
                     choices_[index] = {choices_[child].leaves, {child}};
                   },
                   [&](const node::Reorder& n) {
                     const int64_t row = n.q ? n.q->positions.At(q) : q;
                     const int64_t column = n.kv ? n.kv->positions.At(kv) : kv;
                     const size_t child = Visit(n.mask, row, column, depth + 1);
                     parts_[index].value = parts_[child].value;
                     std::string& reason = parts_[index].reason;
                     if (n.q) reason = fmt::format("row {} is q position {}", q, row);
                     if (n.q && n.kv) reason += ", ";
                     if (n.kv) reason += fmt::format("column {} is kv position {}", kv, column);
                     choices_[index] = {choices_[child].leaves, {child}};
                   },
                   [&](const node::Binary& n) { VisitChain(index, n.op); },
                   [&](const auto& n) {
                     Leaf leaf = LeafAt(mask.shape(), q, kv)(n);
                     parts_[index].value = leaf.value;
                     parts_[index].reason = std::move(leaf.reason);
                     choices_[index].leaves = 1;
                   },
               },
               mask.node().expr);
    return index;
  }

  std::vector<ExplainedPart> Take() {
    std::vector<bool> is_needed(parts_.size());
    is_needed[0] = true;
    for (size_t i = 0; i < parts_.size(); ++i) {
      if (!is_needed[i]) continue;
      parts_[i].decides = choices_[i].parts.empty();
      for (const size_t part : choices_[i].parts) is_needed[part] = true;
    }
    return std::move(parts_);
  }

 private:
  // What decides a part: how few leaves can, and the operands that hold them.
  struct Choice {
    int64_t leaves = 0;
    std::vector<size_t> parts;
  };

  void VisitChain(size_t index, node::Op op) {
    const Mask mask = parts_[index].mask;
    const auto [q, kv] = std::pair(parts_[index].q, parts_[index].kv);
    std::vector<size_t> operands;
    for (const Mask& operand : Chain(mask, op)) {
      operands.push_back(Visit(operand, q, kv, parts_[index].depth + 1));
    }
    bool is_odd = false;
    Choice all, fewest;  // Of the operands that make the conjunction false alone.
    for (size_t i = 0; i < operands.size(); ++i) {
      const Choice& operand = choices_[operands[i]];
      const bool value = parts_[operands[i]].value;
      is_odd ^= value;
      all.leaves += operand.leaves;
      if (Joins(op, i, value)) continue;
      if (fewest.parts.empty() || operand.leaves < fewest.leaves) {
        fewest = {operand.leaves, {operands[i]}};
      }
    }
    const bool is_conjunction = fewest.parts.empty();
    const bool takes_all = op == node::Op::kXor || is_conjunction;
    if (takes_all) all.parts = std::move(operands);
    parts_[index].value = op == node::Op::kXor  ? is_odd
                          : op == node::Op::kOr ? !is_conjunction
                                                : is_conjunction;
    choices_[index] = takes_all ? std::move(all) : std::move(fewest);
  }

  std::vector<ExplainedPart> parts_;
  std::vector<Choice> choices_;  // Of each part.
};

void CheckInside(std::string_view what, int64_t position, int64_t length) {
  if (0 <= position && position < length) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[explain] expected {} in 0..{}, got {}", what, length - 1, position));
}

}  // namespace

Explanation Explain(const Mask& mask, int64_t q, int64_t kv) {
  CheckInside("q", q, mask.shape().q_len);
  CheckInside("kv", kv, mask.shape().kv_len);
  Explainer explainer;
  explainer.Visit(mask, q, kv, 0);
  return {std::nullopt, q, kv, explainer.Take()};
}

Explanation Explain(const MultiHeadMask& mask, int64_t head, int64_t q, int64_t kv) {
  CheckInside("a head", head, mask.num_heads());
  Explanation explanation = Explain(mask.masks()[static_cast<size_t>(head)], q, kv);
  explanation.head = head;
  return explanation;
}

}  // namespace splashmask
