// SPDX-License-Identifier: Apache-2.0
#include "tests/support/naive_mask.h"

#include <regex>

#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/where/fits_kernel.h"

namespace splashmask {

namespace {

// Wide enough for the sum of any three 64-bit integers.
using Wide = __int128;

Wide FloorDiv(Wide a, Wide b) { return a / b - (a % b < 0 ? 1 : 0); }
Wide FloorMod(Wide a, Wide b) { return a - FloorDiv(a, b) * b; }

// The document that holds `position`, or -1 for padding.
int64_t DocumentOf(const std::vector<int64_t>& lengths, int64_t position) {
  int64_t begin = 0;
  for (size_t document = 0; document < lengths.size(); ++document) {
    if (begin <= position && position - begin < lengths[document]) {
      return static_cast<int64_t>(document);
    }
    begin += lengths[document];
  }
  return -1;
}

// A predicate's operation at one cell, in integers that no operation of 64-bit ones leaves.
Wide NaiveValue(std::span<const PredicateNode> nodes, size_t index, Shape shape, Wide q, Wide kv) {
  const PredicateNode& node = nodes[index];
  const auto left = [&] { return NaiveValue(nodes, static_cast<size_t>(node.left), shape, q, kv); };
  const auto right = [&] {
    return NaiveValue(nodes, static_cast<size_t>(node.right), shape, q, kv);
  };
  switch (node.op) {
    case PredicateOp::kConstant:
      return node.constant;
    case PredicateOp::kQ:
      return q;
    case PredicateOp::kKv:
      return kv;
    case PredicateOp::kQLen:
      return shape.q_len;
    case PredicateOp::kKvLen:
      return shape.kv_len;
    case PredicateOp::kNegate:
      return -left();
    case PredicateOp::kAbs:
      return left() < 0 ? -left() : left();
    case PredicateOp::kAdd:
      return left() + right();
    case PredicateOp::kSubtract:
      return left() - right();
    case PredicateOp::kMultiply:
      return left() * right();
    case PredicateOp::kFloorDivide:
      return FloorDiv(right() < 0 ? -left() : left(), right() < 0 ? -right() : right());
    case PredicateOp::kModulo: {
      const Wide divisor = right();
      return divisor < 0 ? -FloorMod(-left(), -divisor) : FloorMod(left(), divisor);
    }
    case PredicateOp::kMin:
      return left() < right() ? left() : right();
    case PredicateOp::kMax:
      return left() > right() ? left() : right();
    case PredicateOp::kEqual:
      return left() == right();
    case PredicateOp::kNotEqual:
      return left() != right();
    case PredicateOp::kLess:
      return left() < right();
    case PredicateOp::kLessEqual:
      return left() <= right();
    case PredicateOp::kGreater:
      return left() > right();
    case PredicateOp::kGreaterEqual:
      return left() >= right();
    case PredicateOp::kNot:
      return left() == 0;
    case PredicateOp::kAnd:
      return left() != 0 && right() != 0;
    case PredicateOp::kOr:
      return left() != 0 || right() != 0;
  }
  return 0;
}

bool Holds(const Array& bools, int64_t row, int64_t column) {
  return bools.data()[row * bools.shape()[1] + column] != std::byte{0};
}

}  // namespace

bool NaiveAt(const Mask& mask, int64_t q_position, int64_t kv_position) {
  const Wide q = q_position, kv = kv_position;
  return std::visit(
      Overloaded{
          [&](const node::Full&) { return true; },
          [&](const node::Empty&) { return false; },
          [&](const node::Causal& n) { return q + n.offset >= kv; },
          [&](const node::Local& n) {
            const bool left = !n.left || q + n.offset - *n.left <= kv;
            const bool right = !n.right || kv <= q + n.offset + *n.right;
            return left && right;
          },
          [&](const node::ChunkedCausal& n) {
            return FloorDiv(q, n.chunk) == FloorDiv(kv, n.chunk) && q >= kv;
          },
          [&](const node::Prefix& n) { return kv < n.n; },
          [&](const node::QRange& n) { return n.begin <= q && q < n.end; },
          [&](const node::KvRange& n) { return n.begin <= kv && kv < n.end; },
          [&](const node::Stride& n) { return FloorMod(q - kv, n.step) == n.phase; },
          [&](const node::Documents& n) {
            const int64_t document = DocumentOf(n.lengths, q_position);
            return document >= 0 && document == DocumentOf(n.lengths, kv_position);
          },
          [&](const node::Segments& n) {
            const int64_t q_id = n.q_ids.At(q_position), kv_id = n.kv_ids.At(kv_position);
            return q_id == kv_id && q_id != n.pad;
          },
          [&](const node::Blocks& n) {
            return Holds(n.bits, q_position / n.block, kv_position / n.block);
          },
          [&](const node::Dense& n) { return Holds(n.array, q_position, kv_position); },
          [&](const node::Where& n) {
            const std::span<const PredicateNode> nodes = n.predicate.nodes();
            return NaiveValue(nodes, nodes.size() - 1, mask.shape(), q, kv) != 0;
          },
          [&](const node::Custom& n) {
            std::byte cell{};
            n.function->Evaluate({&q_position, 1}, kv_position, kv_position + 1, &cell);
            return cell != std::byte{0};
          },
          [&](const node::Reorder& n) {
            return NaiveAt(n.mask, n.q ? n.q->positions.At(q_position) : q_position,
                           n.kv ? n.kv->positions.At(kv_position) : kv_position);
          },
          [&](const node::Not& n) { return !NaiveAt(n.mask, q_position, kv_position); },
          [&](const node::Binary& n) {
            const bool a = NaiveAt(n.left, q_position, kv_position);
            const bool b = NaiveAt(n.right, q_position, kv_position);
            switch (n.op) {
              case node::Op::kAnd:
                return a && b;
              case node::Op::kOr:
                return a || b;
              case node::Op::kXor:
                return a != b;
              case node::Op::kSub:
                return a && !b;
            }
            return false;
          },
      },
      mask.node().expr);
}

std::vector<uint8_t> NaiveCells(const Mask& mask) {
  const Shape shape = mask.shape();
  std::vector<uint8_t> cells;
  cells.reserve(static_cast<size_t>(shape.q_len * shape.kv_len));
  for (int64_t q = 0; q < shape.q_len; ++q) {
    for (int64_t kv = 0; kv < shape.kv_len; ++kv) cells.push_back(NaiveAt(mask, q, kv));
  }
  return cells;
}

bool IsPositionalText(const Mask& mask, const std::optional<Array>& q_positions) {
  static const std::regex predicates("where\\(\"[^\"]*\"\\)");
  const std::string text = std::regex_replace(ToString(mask), predicates, "");
  for (const char* word : {"\"", "documents", "custom", "reorder"}) {
    if (text.find(word) != std::string::npos) return false;
  }
  return FitsKernel(mask, q_positions);
}

}  // namespace splashmask
