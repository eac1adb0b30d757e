// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/xla_shape_reader.h"

#include <fmt/format.h>

namespace splashmask {

namespace {

// XLA itself never nests tuples as deep; a damaged dump shall not exhaust the stack.
constexpr int kMaxTupleDepth = 64;

bool IsNameCharacter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// "2,1,0" up to `end`; each item is what `read` takes.
template <typename Read>
void ReadList(DumpCursor& cursor, std::string_view end, Read read) {
  if (cursor.Take(end)) return;
  do {
    read();
  } while (cursor.Take(","));
  cursor.Expect(end);
}

std::vector<int64_t> ReadTile(DumpCursor& cursor) {
  std::vector<int64_t> tile;
  ReadList(cursor, ")", [&] {
    if (cursor.Take("*")) return tile.push_back(XlaLayout::kCombined);
    const DumpCursor before = cursor;
    tile.push_back(cursor.Number("a tile's extent"));
    if (tile.back() == 0) before.Fail("a tile's extent of at least 1");
  });
  if (!tile.empty() && tile.back() == XlaLayout::kCombined) {
    cursor.Fail("an extent after a tile's last '*'");
  }
  return tile;
}

int64_t ReadParenthesized(DumpCursor& cursor, std::string_view what) {
  const int64_t number = cursor.Number(what);
  cursor.Expect(")");
  return number;
}

// What follows the ':' of a layout: T(8,128)(2,1)E(4)S(1).
void ReadLayoutParts(DumpCursor& cursor, XlaLayout& layout) {
  while (!cursor.Take("}")) {
    if (cursor.Take("T(")) {
      do {
        layout.tiles.push_back(ReadTile(cursor));
      } while (cursor.Take("("));
    } else if (cursor.Take("L(")) {
      const DumpCursor before = cursor;
      layout.tail_alignment = ReadParenthesized(cursor, "an alignment");
      if (layout.tail_alignment == 0) before.Fail("an alignment of at least 1");
    } else if (cursor.Take("E(")) {
      layout.element_bits = ReadParenthesized(cursor, "an element's bits");
    } else if (cursor.Take("S(")) {
      layout.memory_space = ReadParenthesized(cursor, "a memory space");
    } else {
      const auto is_part_name = [](char c) {
        return (c >= 'A' && c <= 'Z') || c == '#' || c == '*';
      };
      layout.other += cursor.While(is_part_name, "a part of a layout, as T(8,128), or '}'");
      cursor.Expect("(");
      layout.other += fmt::format("({})", cursor.Balanced(")"));
      cursor.Expect(")");
    }
  }
}

XlaLayout ReadLayout(DumpCursor& cursor, size_t rank) {
  const DumpCursor start = cursor;
  XlaLayout layout;
  std::vector<bool> seen(rank);
  while (!cursor.StartsWith(":") && !cursor.StartsWith("}")) {
    const DumpCursor before = cursor;
    const int64_t dimension = cursor.Number("a dimension of the layout");
    if (dimension >= static_cast<int64_t>(rank) || seen[static_cast<size_t>(dimension)]) {
      before.Fail(fmt::format("each dimension from 0 to {} once", static_cast<int64_t>(rank) - 1));
    }
    seen[static_cast<size_t>(dimension)] = true;
    layout.minor_to_major.push_back(dimension);
    if (!cursor.Take(",")) break;
  }
  if (layout.minor_to_major.size() != rank) start.Fail(fmt::format("a layout of rank {}", rank));
  if (!cursor.Take("}")) {
    cursor.Expect(":");
    ReadLayoutParts(cursor, layout);
  }
  return layout;
}

XlaShape ReadShapeAtDepth(DumpCursor& cursor, int depth);

XlaShape ReadTuple(DumpCursor& cursor, int depth) {
  if (depth == kMaxTupleDepth) cursor.Fail(fmt::format("at most {} nested tuples", kMaxTupleDepth));
  XlaShape tuple;
  tuple.is_tuple = true;
  ReadList(cursor, ")", [&] {
    cursor.Take(" ");
    // XLA numbers every fifth element.
    if (cursor.Take("/*")) cursor.Until("*/", "a comment");
    tuple.elements.push_back(ReadShapeAtDepth(cursor, depth + 1));
  });
  return tuple;
}

XlaShape ReadShapeAtDepth(DumpCursor& cursor, int depth) {
  if (cursor.Take("(")) return ReadTuple(cursor, depth);
  const DumpCursor start = cursor;
  XlaShape shape;
  shape.dtype = cursor.While(IsNameCharacter, "a shape, as bf16[8,128]");
  const bool has_elements = XlaDTypeBytes(shape.dtype).has_value();
  if (!has_elements && shape.dtype != "token" && shape.dtype != "opaque") {
    start.Fail("an element type of XLA");
  }
  cursor.Expect("[");
  ReadList(cursor, "]", [&] {
    shape.is_dynamic.push_back(cursor.Take("<="));
    shape.dims.push_back(cursor.Number("an extent"));
  });
  if (cursor.Take("{")) shape.layout = ReadLayout(cursor, shape.dims.size());
  return shape;
}

}  // namespace

XlaShape ReadXlaShape(DumpCursor& cursor) { return ReadShapeAtDepth(cursor, 0); }

XlaShape ParseXlaShape(std::string_view text) {
  DumpCursor cursor(text, DumpPlace());
  XlaShape shape = ReadXlaShape(cursor);
  cursor.ExpectEnd();
  return shape;
}

}  // namespace splashmask
