// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/mask.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/where/check_predicate.h"

namespace splashmask {

namespace {

template <typename... Args>
[[noreturn]] void Invalid(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::kInvalidArgument,
              "[mask] " + fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void InvalidArray(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::kInvalidArray,
              "[mask] " + fmt::format(format, std::forward<Args>(args)...));
}

std::string Label(const Array& array) {
  return array.name().empty() ? "array" : fmt::format("\"{}\"", array.name());
}

void CheckShape(Shape shape) {
  if (shape.q_len < 1 || shape.kv_len < 1) {
    Invalid("expected q_len and kv_len of at least 1, got ({}, {})", shape.q_len, shape.kv_len);
  }
}

// What only positions in range can index.
struct Indexes {
  bool q = false, kv = false;
};
constexpr Indexes kBoth{true, true};

Mask MakeLeaf(Shape shape, MaskExpr expr, Indexes indexes = {}) {
  CheckShape(shape);
  auto node = std::make_shared<MaskNode>();
  node->shape = shape;
  node->expr = std::move(expr);
  node->indexes_q = indexes.q;
  node->indexes_kv = indexes.kv;
  node->has_predicate = std::holds_alternative<node::Where>(node->expr);
  return Mask(std::move(node));
}

Mask MakeParent(MaskExpr expr, std::initializer_list<const Mask*> children) {
  auto node = std::make_shared<MaskNode>();
  node->shape = (*children.begin())->shape();
  for (const Mask* child : children) {
    node->depth = std::max(node->depth, child->node().depth + 1);
    node->nodes += child->node().nodes;
    node->indexes_q |= child->node().indexes_q;
    node->indexes_kv |= child->node().indexes_kv;
    node->has_predicate |= child->node().has_predicate;
  }
  if (const auto* reorder = std::get_if<node::Reorder>(&expr)) {
    node->indexes_q |= reorder->q.has_value();
    node->indexes_kv |= reorder->kv.has_value();
  }
  if (node->depth > kMaxMaskDepth) {
    Invalid("expected an expression at most {} operators deep; combine it in a balanced way",
            kMaxMaskDepth);
  }
  if (node->nodes > kMaxMaskNodes) {
    Invalid("expected an expression of at most {} nodes, got {}", kMaxMaskNodes, node->nodes);
  }
  node->expr = std::move(expr);
  return Mask(std::move(node));
}

void CheckVector(const Array& array, int64_t length, std::string_view what) {
  if (array.shape().size() != 1 || !IsInteger(array.dtype())) {
    InvalidArray("expected {} {} to be a 1-D integer array, got {} of shape ({})", what,
                 Label(array), DTypeName(array.dtype()), fmt::join(array.shape(), ", "));
  }
  if (length >= 0 && array.size() != length) {
    InvalidArray("expected {} {} to have {} elements, got {}", what, Label(array), length,
                 array.size());
  }
  if (array.dtype() == DType::kUInt64) {
    array.ForEach([&](int64_t i, int64_t value) {
      if (value >= 0) return;
      InvalidArray("expected {} {} to fit in a signed 64-bit integer, got {} at index {}", what,
                   Label(array), static_cast<uint64_t>(value), i);
    });
  }
}

void CheckBoolMatrix(const Array& array, int64_t rows, int64_t columns, std::string_view what) {
  if (array.shape().size() != 2 || array.dtype() != DType::kBool) {
    InvalidArray("expected {} {} to be a 2-D bool array, got {} of shape ({})", what, Label(array),
                 DTypeName(array.dtype()), fmt::join(array.shape(), ", "));
  }
  if (array.shape()[0] != rows || array.shape()[1] != columns) {
    InvalidArray("expected {} {} to have shape ({}, {}), got ({})", what, Label(array), rows,
                 columns, fmt::join(array.shape(), ", "));
  }
}

Mask MakeDocuments(Shape shape, std::vector<int64_t> lengths, std::optional<Array> array) {
  CheckShape(shape);
  const int64_t limit = std::min(shape.q_len, shape.kv_len);
  int64_t sum = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 0) {
      Invalid("expected document lengths of at least 0, got {} at index {}", lengths[i], i);
    }
    if (__builtin_add_overflow(sum, lengths[i], &sum) || sum > limit) {
      Invalid(
          "expected document lengths to sum to at most {} (the shorter axis), got more at "
          "index {}",
          limit, i);
    }
  }
  return MakeLeaf(shape, node::Documents{std::move(lengths), std::move(array)});
}

int CountPieces(const Positions& layout) { return layout.kind == Positions::Kind::kZigzag ? 2 : 1; }

// The axis that an order is of.
struct Axis {
  std::string_view name;  // "q" or "kv"
  int64_t length;
};

// positions[index[r]] for each r, in the dtype of `positions`.
Array Gather(const Array& positions, const Array& index) {
  const int64_t item = DTypeSize(positions.dtype());
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(index.size() * item));
  index.ForEach([&](int64_t r, int64_t at) {
    std::copy_n(positions.data() + at * item, item, bytes->data() + r * item);
  });
  return Array(positions.dtype(), index.shape(), std::shared_ptr<const void>(bytes, bytes->data()));
}

node::Order MakeOrder(const Positions& written, Axis axis, bool is_index) {
  const bool is_array = written.kind == Positions::Kind::kArray;
  if (is_array) CheckVector(written.array, axis.length, fmt::format("{} positions", axis.name));
  node::Order order{
      written, is_array ? written.array : node::LayoutPositions(written, axis.name, axis.length)};
  if (!is_index) return order;
  order.positions.ForEach([&](int64_t i, int64_t position) {
    if (position >= 0 && position < axis.length) return;
    Invalid(
        "expected {} positions in [0, {}), as this mask holds an array or a reordering; got {} "
        "at index {}",
        axis.name, axis.length, position, i);
  });
  return order;
}

void CheckKvPositions(const Array& positions) {
  positions.ForEach([](int64_t i, int64_t position) {
    if (-kMostKvPosition <= position && position <= kMostKvPosition) return;
    Invalid("expected kv positions of magnitude up to 2^60, got {} at index {}", position, i);
  });
}

// `outer` after `inner`.
std::optional<node::Order> Compose(const std::optional<node::Order>& inner,
                                   std::optional<node::Order> outer) {
  if (!inner) return outer;
  if (!outer) return inner;
  Array positions = Gather(inner->positions, outer->positions);
  return node::Order{Positions::FromArray(positions), positions};
}

}  // namespace

namespace node {
Array LayoutPositions(const Positions& layout, std::string_view axis, int64_t length) {
  const int64_t n = layout.n;
  const std::string_view name = layout.kind == Positions::Kind::kZigzag ? "zigzag" : "striped";
  const int64_t limit = length / CountPieces(layout);
  if (n < 1 || n > limit || length % (n * CountPieces(layout)) != 0) {
    Invalid("expected {}(n) with {} to divide {}_len ({}), got n = {}", name,
            layout.kind == Positions::Kind::kZigzag ? "2n" : "n", axis, length, n);
  }
  if (length > std::numeric_limits<int32_t>::max()) {
    throw Error(
        ErrorCode::kTooLarge,
        fmt::format("[mask] expected {}_len below 2^31 for {}, got {}", axis, name, length));
  }
  std::vector<int32_t> positions;
  positions.reserve(static_cast<size_t>(length));
  if (layout.kind == Positions::Kind::kStriped) {
    for (int64_t shard = 0; shard < n; ++shard) {
      for (int64_t p = shard; p < length; p += n) positions.push_back(static_cast<int32_t>(p));
    }
  } else {
    const int64_t piece = length / (2 * n);
    for (int64_t shard = 0; shard < n; ++shard) {
      for (int64_t start : {shard * piece, (2 * n - 1 - shard) * piece}) {
        for (int64_t i = 0; i < piece; ++i) positions.push_back(static_cast<int32_t>(start + i));
      }
    }
  }
  return Array::FromVector(positions);
}

bool IsIdentity(const Array& positions) {
  return positions.AllOf([](int64_t i, int64_t position) { return position == i; });
}
}  // namespace node

Mask Apply(node::Op op, const Mask& a, const Mask& b) {
  if (a.shape() != b.shape()) {
    Invalid("expected masks of one shape, got ({}, {}) and ({}, {})", a.shape().q_len,
            a.shape().kv_len, b.shape().q_len, b.shape().kv_len);
  }
  return MakeParent(node::Binary{op, a, b}, {&a, &b});
}

Positions Positions::FromArray(Array positions) { return {Kind::kArray, std::move(positions), 0}; }
Positions Positions::Zigzag(int64_t n) { return {Kind::kZigzag, Array(), n}; }
Positions Positions::Striped(int64_t n) { return {Kind::kStriped, Array(), n}; }

Mask Mask::Full(Shape shape) { return MakeLeaf(shape, node::Full{}); }
Mask Mask::Empty(Shape shape) { return MakeLeaf(shape, node::Empty{}); }
Mask Mask::Causal(Shape shape, int64_t offset) { return MakeLeaf(shape, node::Causal{offset}); }

Mask Mask::Local(Shape shape, std::optional<int64_t> left, std::optional<int64_t> right,
                 int64_t offset) {
  return MakeLeaf(shape, node::Local{left, right, offset});
}

Mask Mask::ChunkedCausal(Shape shape, int64_t chunk) {
  if (chunk < 1) Invalid("expected chunk of at least 1, got {}", chunk);
  return MakeLeaf(shape, node::ChunkedCausal{chunk});
}

Mask Mask::Prefix(Shape shape, int64_t n) { return MakeLeaf(shape, node::Prefix{n}); }
Mask Mask::QRange(Shape shape, int64_t begin, int64_t end) {
  return MakeLeaf(shape, node::QRange{begin, end});
}
Mask Mask::KvRange(Shape shape, int64_t begin, int64_t end) {
  return MakeLeaf(shape, node::KvRange{begin, end});
}

Mask Mask::Stride(Shape shape, int64_t step, int64_t phase) {
  if (step < 1) Invalid("expected step of at least 1, got {}", step);
  if (phase < 0 || phase >= step) {
    Invalid("expected 0 <= phase < step, got phase {} and step {}", phase, step);
  }
  return MakeLeaf(shape, node::Stride{step, phase});
}

Mask Mask::Documents(Shape shape, std::vector<int64_t> lengths) {
  return MakeDocuments(shape, std::move(lengths), std::nullopt);
}
Mask Mask::Documents(Shape shape, Array lengths) {
  CheckVector(lengths, -1, "document lengths");
  return MakeDocuments(shape, lengths.ToInt64(), lengths);
}

Mask Mask::Segments(Shape shape, Array q_ids, Array kv_ids, std::optional<int64_t> pad) {
  CheckShape(shape);
  CheckVector(q_ids, shape.q_len, "q segment ids");
  CheckVector(kv_ids, shape.kv_len, "kv segment ids");
  return MakeLeaf(shape, node::Segments{std::move(q_ids), std::move(kv_ids), pad}, kBoth);
}

Mask Mask::Blocks(Shape shape, Array bits, int64_t block) {
  CheckShape(shape);
  if (block < 1) Invalid("expected block of at least 1, got {}", block);
  CheckBoolMatrix(bits, (shape.q_len - 1) / block + 1, (shape.kv_len - 1) / block + 1,
                  "block bits");
  return MakeLeaf(shape, node::Blocks{std::move(bits), block}, kBoth);
}

Mask Mask::Dense(Shape shape, Array array) {
  CheckShape(shape);
  CheckBoolMatrix(array, shape.q_len, shape.kv_len, "dense mask");
  return MakeLeaf(shape, node::Dense{std::move(array)}, kBoth);
}

Mask Mask::Where(Shape shape, std::string_view predicate) {
  return Where(shape, Predicate::Parse(predicate));
}
Mask Mask::Where(Shape shape, const Predicate& predicate) {
  CheckShape(shape);
  CheckPredicate(predicate, shape);
  return MakeLeaf(shape, node::Where{predicate});
}

Mask Mask::Custom(Shape shape, std::shared_ptr<const CustomFunction> function) {
  CheckShape(shape);
  const Indexes indexes{!function->computable(), true};
  return MakeLeaf(shape, node::Custom{std::move(function)}, indexes);
}

Mask Mask::Reorder(const std::optional<Positions>& q, const std::optional<Positions>& kv) const {
  std::optional<node::Order> rows, columns;
  if (q) rows = MakeOrder(*q, {"q", shape().q_len}, node().indexes_q);
  if (kv) columns = MakeOrder(*kv, {"kv", shape().kv_len}, node().indexes_kv);
  if (columns) CheckKvPositions(columns->positions);
  if (node().has_predicate) CheckPredicates(*this, rows, columns);

  const auto* inner = std::get_if<node::Reorder>(&node().expr);
  if (inner != nullptr) {
    rows = Compose(inner->q, std::move(rows));
    columns = Compose(inner->kv, std::move(columns));
  }
  const bool is_int32 = rows && rows->positions.dtype() == DType::kInt32;
  if (is_int32 && node::IsIdentity(rows->positions)) rows.reset();
  if (columns && node::IsIdentity(columns->positions)) columns.reset();
  const Mask& mask = inner == nullptr ? *this : inner->mask;
  if (!rows && !columns) return mask;
  return MakeParent(node::Reorder{mask, std::move(rows), std::move(columns)}, {&mask});
}

Mask Mask::operator~() const { return MakeParent(node::Not{*this}, {this}); }
Mask operator&(const Mask& a, const Mask& b) { return Apply(node::Op::kAnd, a, b); }
Mask operator|(const Mask& a, const Mask& b) { return Apply(node::Op::kOr, a, b); }
Mask operator^(const Mask& a, const Mask& b) { return Apply(node::Op::kXor, a, b); }
Mask operator-(const Mask& a, const Mask& b) { return Apply(node::Op::kSub, a, b); }

Shape Mask::shape() const { return node_->shape; }

}  // namespace splashmask
