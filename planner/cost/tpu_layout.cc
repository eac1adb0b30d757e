// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/tpu_layout.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>
#include <optional>
#include <utility>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

int64_t UpToPowerOf2(int64_t n) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(n, 1))));
}

// Rows of a tile of `rows` rows; `packed` of them lie in one sublane.
int64_t TileRows(int64_t rows, int64_t packed) {
  constexpr int64_t kLargest = 4 * kSublanes;  // Bytes fill a register of 32 bits by 8 sublanes.
  if (packed == 4 && rows > 0 && rows % kLargest == 0) return kLargest;
  return std::max(packed, std::min(kSublanes, UpToPowerOf2(rows)));
}

std::vector<std::vector<int64_t>> TilesOf(const std::vector<int64_t>& dims,
                                          const std::vector<int64_t>& minor_to_major,
                                          int64_t packed) {
  if (dims.empty()) return {{kLanes * packed}};
  std::vector<std::vector<int64_t>> tiles;
  if (dims.size() == 1) {
    tiles.push_back({std::clamp(UpToPowerOf2(dims[0]), kLanes * packed, kLanes * kSublanes)});
    if (packed > 1) tiles.push_back({kLanes});
  } else {
    tiles.push_back({TileRows(dims[static_cast<size_t>(minor_to_major[1])], packed), kLanes});
  }
  if (packed > 1) tiles.push_back({packed, 1});
  return tiles;
}

}  // namespace

XlaShape TiledShape(std::string_view dtype, std::vector<int64_t> dims,
                    std::vector<int64_t> minor_to_major) {
  const int64_t packed = 4 / XlaDTypeBytes(dtype).value_or(4);
  XlaLayout layout;
  layout.tiles = TilesOf(dims, minor_to_major, packed);
  layout.minor_to_major = std::move(minor_to_major);
  XlaShape shape;
  shape.dtype = dtype;
  shape.is_dynamic.assign(dims.size(), false);
  shape.dims = std::move(dims);
  shape.layout = std::move(layout);
  return shape;
}

XlaShape RowMajorShape(std::string_view dtype, std::vector<int64_t> dims) {
  std::vector<int64_t> order(dims.size());
  std::iota(order.rbegin(), order.rend(), 0);
  return TiledShape(dtype, std::move(dims), std::move(order));
}

XlaShape CompactShape(std::string_view dtype, std::vector<int64_t> dims) {
  XlaShape best = RowMajorShape(dtype, dims);
  std::optional<int64_t> fewest = TiledBytes(best);
  std::vector<int64_t> order = best.layout->minor_to_major;
  while (std::prev_permutation(order.begin(), order.end())) {
    XlaShape shape = TiledShape(dtype, dims, order);
    const std::optional<int64_t> bytes = TiledBytes(shape);
    if (!bytes || (fewest && *bytes >= *fewest)) continue;
    fewest = bytes;
    best = std::move(shape);
  }
  return best;
}

XlaShape TupleShape(std::vector<XlaShape> elements) {
  XlaShape shape;
  shape.is_tuple = true;
  shape.elements = std::move(elements);
  return shape;
}

}  // namespace splashmask
