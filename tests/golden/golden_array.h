// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arrays of a golden file; generate.py says how they are written.

#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "splashmask/masks/array.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::golden {

/// Elements in C order, little endian; bools packed along the last axis in little bit order.
struct Content {
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

/// An input of a case. It must be written out, not as a digest.
Content ReadContent(const boost::json::object& json);

/// The same as an array leaf's array.
Array ToArray(const Content& content, std::string name);

Content ContentOf(const Table& table);
Content ContentOf(const PartialMaskBlocks& blocks);
Content ContentOf(const Array& array);

/// nullopt when `got` is what `want` says (json null: absent), else what differs: the dtype, the
/// shape, or the first index with both values.
std::optional<std::string> Difference(const boost::json::value& want,
                                      const std::optional<Content>& got);

}  // namespace splashmask::golden
