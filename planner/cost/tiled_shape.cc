// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/tiled_shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <utility>

namespace splashmask {

namespace {

struct HloType {
  std::string_view name;
  int64_t bytes;
};

// Types of less than a byte take a whole one, unless a layout packs them with E(n).
constexpr auto kDTypes = std::to_array<HloType>({
    {"pred", 1},
    {"s1", 1},
    {"u1", 1},
    {"s2", 1},
    {"u2", 1},
    {"s4", 1},
    {"u4", 1},
    {"s8", 1},
    {"u8", 1},
    {"s16", 2},
    {"u16", 2},
    {"s32", 4},
    {"u32", 4},
    {"s64", 8},
    {"u64", 8},
    {"f4e2m1fn", 1},
    {"f8e3m4", 1},
    {"f8e4m3", 1},
    {"f8e4m3fn", 1},
    {"f8e5m2", 1},
    {"f8e4m3fnuz", 1},
    {"f8e5m2fnuz", 1},
    {"f8e4m3b11fnuz", 1},
    {"f8e8m0fnu", 1},
    {"f16", 2},
    {"bf16", 2},
    {"f32", 4},
    {"f64", 8},
    {"c64", 8},
    {"c128", 16},
});

// Products and rounding that stay empty once they pass 64 bits.
class CheckedSize {
 public:
  explicit CheckedSize(int64_t value) : value_(value) {}

  void Multiply(int64_t factor) {
    if (value_ && __builtin_mul_overflow(*value_, factor, &*value_)) value_.reset();
  }
  // Divides, rounding up.
  void Divide(int64_t divisor) {
    if (value_) *value_ = *value_ / divisor + (*value_ % divisor != 0);
  }
  void RoundUp(int64_t multiple) {
    Divide(multiple);
    Multiply(multiple);
  }
  std::optional<int64_t> value() const { return value_; }

 private:
  std::optional<int64_t> value_;
};

std::vector<int64_t> MajorToMinor(const XlaShape& shape) {
  if (!shape.layout) return shape.dims;
  std::vector<int64_t> dims;
  const std::vector<int64_t>& order = shape.layout->minor_to_major;
  for (auto dimension = order.rbegin(); dimension != order.rend(); ++dimension) {
    dims.push_back(shape.dims[static_cast<size_t>(*dimension)]);
  }
  return dims;
}

// Replaces the last dimensions by the number of tiles in each and the tile's extents. False when a
// merged dimension passes 64 bits.
bool ApplyTile(const std::vector<int64_t>& tile, std::vector<int64_t>& dims) {
  if (dims.size() < tile.size()) dims.insert(dims.begin(), tile.size() - dims.size(), 1);
  const size_t first = dims.size() - tile.size();
  std::vector<int64_t> counts, extents;
  int64_t merged = 1;
  for (size_t i = 0; i < tile.size(); ++i) {
    if (__builtin_mul_overflow(merged, dims[first + i], &merged)) return false;
    if (tile[i] == XlaLayout::kCombined) continue;
    counts.push_back(merged / tile[i] + (merged % tile[i] != 0));
    extents.push_back(tile[i]);
    merged = 1;
  }
  dims.resize(first);
  dims.insert(dims.end(), counts.begin(), counts.end());
  dims.insert(dims.end(), extents.begin(), extents.end());
  return true;
}

std::optional<int64_t> ElementsToBytes(const XlaShape& shape, CheckedSize elements) {
  const int64_t bits = shape.layout ? shape.layout->element_bits : 0;
  if (bits > 0) {
    elements.Multiply(bits);
    elements.Divide(8);
  } else {
    elements.Multiply(*XlaDTypeBytes(shape.dtype));
  }
  return elements.value();
}

bool HasKnownSize(const XlaShape& shape) {
  return XlaDTypeBytes(shape.dtype) && !(shape.layout && !shape.layout->other.empty());
}

std::string LayoutText(const XlaLayout& layout) {
  std::string parts;
  if (!layout.tiles.empty()) parts += 'T';
  for (const std::vector<int64_t>& tile : layout.tiles) {
    std::vector<std::string> extents;
    for (int64_t extent : tile) {
      extents.push_back(extent == XlaLayout::kCombined ? "*" : std::to_string(extent));
    }
    parts += fmt::format("({})", fmt::join(extents, ","));
  }
  if (layout.tail_alignment != 1) parts += fmt::format("L({})", layout.tail_alignment);
  if (layout.element_bits != 0) parts += fmt::format("E({})", layout.element_bits);
  if (layout.memory_space != 0) parts += fmt::format("S({})", layout.memory_space);
  parts += layout.other;
  return fmt::format("{{{}{}{}}}", fmt::join(layout.minor_to_major, ","), parts.empty() ? "" : ":",
                     parts);
}

}  // namespace

std::optional<int64_t> XlaDTypeBytes(std::string_view dtype) {
  for (const HloType& entry : kDTypes) {
    if (entry.name == dtype) return entry.bytes;
  }
  return std::nullopt;
}

std::string XlaShapeText(const XlaShape& shape) {
  if (!shape.is_tuple) {
    std::vector<std::string> dims;
    for (size_t i = 0; i < shape.dims.size(); ++i) {
      dims.push_back((i < shape.is_dynamic.size() && shape.is_dynamic[i] ? "<=" : "") +
                     std::to_string(shape.dims[i]));
    }
    return fmt::format("{}[{}]{}", shape.dtype, fmt::join(dims, ","),
                       shape.layout ? LayoutText(*shape.layout) : "");
  }
  std::vector<std::string> elements;
  for (const XlaShape& element : shape.elements) elements.push_back(XlaShapeText(element));
  return fmt::format("({})", fmt::join(elements, ", "));
}

std::optional<int64_t> TiledBytes(const XlaShape& shape) {
  if (!HasKnownSize(shape)) return std::nullopt;
  std::vector<int64_t> dims = MajorToMinor(shape);
  if (shape.layout) {
    for (const std::vector<int64_t>& tile : shape.layout->tiles) {
      if (!ApplyTile(tile, dims)) return std::nullopt;
    }
  }
  CheckedSize elements(1);
  for (int64_t extent : dims) elements.Multiply(extent);
  if (shape.layout) elements.RoundUp(shape.layout->tail_alignment);
  return ElementsToBytes(shape, elements);
}

std::optional<int64_t> UnpaddedBytes(const XlaShape& shape) {
  if (shape.is_tuple) return 8 * static_cast<int64_t>(shape.elements.size());
  if (!HasKnownSize(shape)) return std::nullopt;
  CheckedSize elements(1);
  for (int64_t extent : shape.dims) elements.Multiply(extent);
  return ElementsToBytes(shape, elements);
}

}  // namespace splashmask
