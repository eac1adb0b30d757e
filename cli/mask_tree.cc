// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/mask_tree.h"

#include <optional>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

json::value IntegerJson(const std::optional<int64_t>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}

const char* OperatorKind(node::Op op) {
  switch (op) {
    case node::Op::kAnd:
      return "and";
    case node::Op::kOr:
      return "or";
    case node::Op::kXor:
      return "xor";
    case node::Op::kSub:
      return "sub";
  }
  return "";
}

}  // namespace

json::object MaskTree(const Mask& mask, const ArrayJson& array) {
  const auto positions = [&](const std::optional<node::Order>& order) {
    return order ? array(order->positions) : json::value(nullptr);
  };
  return std::visit(
      Overloaded{
          [](const node::Full&) {
            return json::object{{"kind", "full"}};
          },
          [](const node::Empty&) {
            return json::object{{"kind", "empty"}};
          },
          [](const node::Causal& n) {
            return json::object{{"kind", "causal"}, {"offset", n.offset}};
          },
          [](const node::Local& n) {
            return json::object{{"kind", "local"},
                                {"left", IntegerJson(n.left)},
                                {"right", IntegerJson(n.right)},
                                {"offset", n.offset}};
          },
          [](const node::ChunkedCausal& n) {
            return json::object{{"kind", "chunked_causal"}, {"chunk", n.chunk}};
          },
          [](const node::Prefix& n) {
            return json::object{{"kind", "prefix"}, {"n", n.n}};
          },
          [](const node::QRange& n) {
            return json::object{{"kind", "q_range"}, {"begin", n.begin}, {"end", n.end}};
          },
          [](const node::KvRange& n) {
            return json::object{{"kind", "kv_range"}, {"begin", n.begin}, {"end", n.end}};
          },
          [](const node::Stride& n) {
            return json::object{{"kind", "stride"}, {"step", n.step}, {"phase", n.phase}};
          },
          [](const node::Documents& n) {
            return json::object{{"kind", "documents"},
                                {"lengths", json::array(n.lengths.begin(), n.lengths.end())}};
          },
          [&](const node::Segments& n) {
            return json::object{{"kind", "segments"},
                                {"q_ids", array(n.q_ids)},
                                {"kv_ids", array(n.kv_ids)},
                                {"pad", IntegerJson(n.pad)}};
          },
          [&](const node::Blocks& n) {
            return json::object{{"kind", "blocks"}, {"bits", array(n.bits)}, {"block", n.block}};
          },
          [&](const node::Dense& n) {
            return json::object{{"kind", "dense"}, {"array", array(n.array)}};
          },
          [](const node::Where& n) {
            return json::object{{"kind", "where"}, {"predicate", n.predicate.text()}};
          },
          [](const node::Custom& n) -> json::object {
            throw Error(ErrorCode::kInvalidArgument,
                        "[mask] expected a mask with a text form, got the custom function " +
                            n.function->name());
          },
          [&](const node::Reorder& n) {
            return json::object{{"kind", "reorder"},
                                {"mask", MaskTree(n.mask, array)},
                                {"q", positions(n.q)},
                                {"kv", positions(n.kv)}};
          },
          [&](const node::Not& n) {
            return json::object{{"kind", "not"}, {"mask", MaskTree(n.mask, array)}};
          },
          [&](const node::Binary& n) {
            return json::object{{"kind", OperatorKind(n.op)},
                                {"left", MaskTree(n.left, array)},
                                {"right", MaskTree(n.right, array)}};
          },
      },
      mask.node().expr);
}

}  // namespace splashmask::cli
