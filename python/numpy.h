// SPDX-License-Identifier: Apache-2.0
#pragma once
// NumPy arrays <-> the library's arrays and tables.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/array.h"
#include "splashmask/planner/mask_info.h"

namespace splashmask::python {

namespace nb = nanobind;

using Pair = std::pair<int64_t, int64_t>;

/// Shares the memory of a C-contiguous array of bools or integers. Throws kInvalidArray, naming
/// `name`, for anything else.
Array ToArray(nb::handle object, const std::string& name);

/// A NumPy array over memory that lives as long as `owner` does.
template <typename Owner>
nb::object ToNumpy(const std::byte* data, const std::vector<int64_t>& shape, DType dtype,
                   Owner owner, bool writable = true);
nb::object ToNumpy(const std::byte* data, const std::vector<int64_t>& shape, DType dtype,
                   nb::handle owner, bool writable);

nb::object ToNumpy(const std::optional<Table>& table, bool writable = true);
/// Read-only: the memory may be the caller's own.
nb::object ToNumpy(const Array& array);
/// A copy.
nb::object CopyToNumpy(const std::optional<Array>& array);

/// Partial blocks at one byte a cell, as NumPy's bools are.
struct ExpandedBlocks {
  std::vector<int64_t> shape;
  std::shared_ptr<std::byte> bools;
};

/// Needs no GIL.
std::optional<ExpandedBlocks> Expand(const std::optional<PartialMaskBlocks>& blocks);
nb::object ToNumpy(const std::optional<ExpandedBlocks>& blocks);

/// (data_next, mask_next, block_mask, partial_mask_blocks, q_sequence, is_dynamic_mask)
nb::tuple ToTuple(const MaskInfo& info, const std::optional<ExpandedBlocks>& blocks);

template <typename Owner>
nb::object ToNumpy(const std::byte* data, const std::vector<int64_t>& shape, DType dtype,
                   Owner owner, bool writable) {
  const nb::capsule capsule(new Owner(std::move(owner)),
                            [](void* pointer) noexcept { delete static_cast<Owner*>(pointer); });
  return ToNumpy(data, shape, dtype, nb::handle(capsule), writable);
}

}  // namespace splashmask::python
