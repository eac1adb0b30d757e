// SPDX-License-Identifier: Apache-2.0
#pragma once
// The nodes of a mask expression. Private to the project: every walker (printer, analysis,
// certifier) visits `MaskNode::expr`, so that a new kind of node fails to compile until each of
// them knows it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>
#include <vector>

#include "splashmask/masks/array.h"
#include "splashmask/masks/custom_function.h"
#include "splashmask/masks/mask.h"
#include "splashmask/masks/where/predicate.h"

namespace splashmask {

namespace node {

struct Full {};
struct Empty {};
struct Causal {
  int64_t offset;
};
struct Local {
  std::optional<int64_t> left, right;
  int64_t offset;
};
struct ChunkedCausal {
  int64_t chunk;
};
struct Prefix {
  int64_t n;
};
struct QRange {
  int64_t begin, end;
};
struct KvRange {
  int64_t begin, end;
};
struct Stride {
  int64_t step, phase;
};
struct Documents {
  std::vector<int64_t> lengths;
  std::optional<Array> array;  ///< Set when the lengths came from an array; the text form names it.
};
struct Segments {
  Array q_ids, kv_ids;
  std::optional<int64_t> pad;
};
struct Blocks {
  Array bits;
  int64_t block;
};
struct Dense {
  Array array;
};
struct Where {
  Predicate predicate;
};
struct Custom {
  std::shared_ptr<const CustomFunction> function;
};
/// Where each row, or each column, of a reordered mask is evaluated.
struct Order {
  Positions written;
  /// What `written` denotes: int64 or smaller, for rows with the dtype of q_sequence.
  Array positions;
};
/// What zigzag(n) or striped(n) denotes on an axis ("q" or "kv") of that length: int32, JAX's dtype
/// for q_sequence. Throws kInvalidArgument, kTooLarge.
Array LayoutPositions(const Positions& layout, std::string_view axis, int64_t length);
/// Whether each row, or column, is evaluated at its own index.
bool IsIdentity(const Array& positions);
struct Reorder {
  Mask mask;
  std::optional<Order> q, kv;  ///< At least one of them.
};
struct Not {
  Mask mask;
};
enum class Op : uint8_t { kAnd, kOr, kXor, kSub };
struct Binary {
  Op op;
  Mask left, right;
};

}  // namespace node

using MaskExpr =
    std::variant<node::Full, node::Empty, node::Causal, node::Local, node::ChunkedCausal,
                 node::Prefix, node::QRange, node::KvRange, node::Stride, node::Documents,
                 node::Segments, node::Blocks, node::Dense, node::Where, node::Custom,
                 node::Reorder, node::Not, node::Binary>;

struct MaskNode {
  Shape shape;
  MaskExpr expr;
  int depth = 1;
  int64_t nodes = 1;
  /// True when segments, blocks, dense, a function of rows or a reordering of that axis occur: only
  /// positions in range can index them.
  bool indexes_q = false, indexes_kv = false;
  bool has_predicate = false;
};

/// Whether two nodes are of one kind and have the same parameters, arrays and operands.
bool SamePayload(const MaskExpr& a, const MaskExpr& b);

/// `a op b`. Throws kInvalidArgument when the shapes differ.
Mask Apply(node::Op op, const Mask& a, const Mask& b);

/// Calls std::visit with a set of lambdas.
template <typename... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

}  // namespace splashmask
