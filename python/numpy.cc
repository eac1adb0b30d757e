// SPDX-License-Identifier: Apache-2.0
#include "splashmask/python/numpy.h"

#include <fmt/format.h>

#include <algorithm>

#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask::python {

namespace {

using InputArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

constexpr std::pair<DType, nb::dlpack::dtype> kDTypes[] = {
    {DType::kBool, nb::dtype<bool>()},       {DType::kInt8, nb::dtype<int8_t>()},
    {DType::kInt16, nb::dtype<int16_t>()},   {DType::kInt32, nb::dtype<int32_t>()},
    {DType::kInt64, nb::dtype<int64_t>()},   {DType::kUInt8, nb::dtype<uint8_t>()},
    {DType::kUInt16, nb::dtype<uint16_t>()}, {DType::kUInt32, nb::dtype<uint32_t>()},
    {DType::kUInt64, nb::dtype<uint64_t>()},
};

DType ToDType(nb::dlpack::dtype dtype, const std::string& name) {
  for (const auto& [ours, numpys] : kDTypes) {
    if (dtype == numpys) return ours;
  }
  throw Error(ErrorCode::kInvalidArray,
              fmt::format("[python] expected {} to hold bools or integers, got another dtype of "
                          "{} bits",
                          name, dtype.bits));
}

nb::dlpack::dtype ToNumpyDType(DType dtype) {
  return std::ranges::find(kDTypes, dtype, [](const auto& pair) { return pair.first; })->second;
}

}  // namespace

Array ToArray(nb::handle object, const std::string& name) {
  auto input = std::make_unique<InputArray>();
  if (!nb::try_cast(object, *input)) {
    throw Error(ErrorCode::kInvalidArray,
                fmt::format("[python] expected {} to be an array of bools or integers in this "
                            "machine's byte order, got {}",
                            name, nb::type_name(object.type()).c_str()));
  }
  const DType dtype = ToDType(input->dtype(), name);
  std::vector<int64_t> shape(input->shape_ptr(), input->shape_ptr() + input->ndim());
  const void* data = input->data();
  // The last copy of the array may go away in a thread that does not hold the GIL.
  std::shared_ptr<const void> shared(data, [owner = input.release()](const void*) {
    nb::gil_scoped_acquire gil;
    delete owner;
  });
  return Array(dtype, std::move(shape), std::move(shared));
}

nb::object ToNumpy(const std::byte* data, const std::vector<int64_t>& shape, DType dtype,
                   nb::handle owner, bool writable) {
  const std::vector<size_t> extents(shape.begin(), shape.end());
  if (!writable) {
    return nb::cast(nb::ndarray<nb::numpy, nb::ro>(data, extents.size(), extents.data(), owner,
                                                   nullptr, ToNumpyDType(dtype)));
  }
  // Nobody else sees the memory, so that Python may write to it.
  return nb::cast(nb::ndarray<nb::numpy>(const_cast<std::byte*>(data), extents.size(),
                                         extents.data(), owner, nullptr, ToNumpyDType(dtype)));
}

nb::object ToNumpy(const std::optional<Table>& table, bool writable) {
  if (!table) return nb::none();
  return ToNumpy(table->data(), {table->shape().begin(), table->shape().end()}, table->dtype(),
                 table->owner(), writable);
}

nb::object ToNumpy(const Array& array) {
  return ToNumpy(array.data(), array.shape(), array.dtype(), array, /*writable=*/false);
}

nb::object CopyToNumpy(const std::optional<Array>& array) {
  if (!array) return nb::none();
  const std::shared_ptr<std::byte> copy = AllocateBytes(array->size_bytes());
  std::copy_n(array->data(), array->size_bytes(), copy.get());
  return ToNumpy(copy.get(), array->shape(), array->dtype(), copy);
}

std::optional<ExpandedBlocks> Expand(const std::optional<PartialMaskBlocks>& blocks) {
  if (!blocks) return std::nullopt;
  const int64_t rows = blocks->count() * blocks->rows();
  ExpandedBlocks expanded{blocks->leading(), AllocateBytes(rows * blocks->columns())};
  expanded.shape.insert(expanded.shape.end(), {blocks->rows(), blocks->columns()});
  UnpackBoolRows(blocks->data(), rows, blocks->columns(), expanded.bools.get());
  return expanded;
}

nb::object ToNumpy(const std::optional<ExpandedBlocks>& blocks) {
  if (!blocks) return nb::none();
  return ToNumpy(blocks->bools.get(), blocks->shape, DType::kBool, blocks->bools);
}

nb::tuple ToTuple(const MaskInfo& info, const std::optional<ExpandedBlocks>& blocks) {
  return nb::make_tuple(ToNumpy(info.data_next), ToNumpy(info.mask_next), ToNumpy(info.block_mask),
                        ToNumpy(blocks), CopyToNumpy(info.q_sequence),
                        info.is_dynamic_mask ? nb::object(nb::bool_(true)) : nb::none());
}

}  // namespace splashmask::python
