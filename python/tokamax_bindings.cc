// SPDX-License-Identifier: Apache-2.0
// _core.process_tokamax_mask: one pass in the tokamax dialect.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/tokamax.h"

namespace nb = nanobind;

namespace splashmask {
namespace {

using Pair = std::pair<int64_t, int64_t>;
using PythonArrays = std::map<std::string, nb::object>;
using InputArray = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

constexpr std::pair<DType, nb::dlpack::dtype> kDTypes[] = {
    {DType::kBool, nb::dtype<bool>()},       {DType::kInt8, nb::dtype<int8_t>()},
    {DType::kInt16, nb::dtype<int16_t>()},   {DType::kInt32, nb::dtype<int32_t>()},
    {DType::kInt64, nb::dtype<int64_t>()},   {DType::kUInt8, nb::dtype<uint8_t>()},
    {DType::kUInt16, nb::dtype<uint16_t>()}, {DType::kUInt32, nb::dtype<uint32_t>()},
    {DType::kUInt64, nb::dtype<uint64_t>()},
};

// A copy: the result keeps what it refers to for longer than the call.
Array CopyArray(nb::handle object, const std::string& name) {
  InputArray input;
  if (!nb::try_cast(object, input)) {
    throw Error(ErrorCode::kInvalidArray, "[python] expected \"" + name + "\" to be an array");
  }
  const auto dtype =
      std::ranges::find_if(kDTypes, [&](const auto& pair) { return pair.second == input.dtype(); });
  if (dtype == std::end(kDTypes)) {
    throw Error(ErrorCode::kInvalidArray,
                "[python] expected \"" + name + "\" to hold bools or integers");
  }
  const auto* data = static_cast<const std::byte*>(input.data());
  const auto copy = std::make_shared<std::vector<std::byte>>(data, data + input.nbytes());
  return Array(dtype->first, {input.shape_ptr(), input.shape_ptr() + input.ndim()},
               std::shared_ptr<const void>(copy, copy->data()), name);
}

// A NumPy array over memory that nobody else writes to, kept alive by a copy of `owner`.
template <typename Owner>
nb::object ToNumpy(const void* data, const std::vector<int64_t>& shape, DType dtype,
                   const Owner& owner) {
  const nb::capsule capsule(new Owner(owner),
                            [](void* pointer) noexcept { delete static_cast<Owner*>(pointer); });
  const std::vector<size_t> extents(shape.begin(), shape.end());
  return nb::cast(nb::ndarray<nb::numpy>(
      const_cast<void*>(data), extents.size(), extents.data(), capsule, nullptr,
      std::ranges::find(kDTypes, dtype, [](const auto& pair) { return pair.first; })->second));
}

nb::object ToNumpy(const std::optional<Array>& array) {
  if (!array) return nb::none();
  return ToNumpy(array->data(), array->shape(), array->dtype(), *array);
}

using Bools = std::shared_ptr<std::byte[]>;

// One byte a cell, 0 or 1, as NumPy's bools and int8s are. Needs no GIL.
Bools Expand(const std::optional<PartialMaskBlocks>& blocks) {
  if (!blocks) return nullptr;
  const int64_t rows = blocks->count() * blocks->rows();
  Bools bools =
      std::make_shared_for_overwrite<std::byte[]>(static_cast<size_t>(rows * blocks->columns()));
  UnpackBoolRows(blocks->data(), rows, blocks->columns(), bools.get());
  return bools;
}

nb::tuple ProcessTokamaxMask(const std::string& text, const Pair& shape, const PythonArrays& arrays,
                             const Pair& block_shape, bool is_dkv, bool downcast_smem_data,
                             int64_t q_seq_shards, int64_t kv_seq_shards, bool return_dynamic_grid,
                             int threads) {
  std::map<std::string, Array> named;
  for (const auto& [name, array] : arrays) named.emplace(name, CopyArray(array, name));
  const auto resolve = [&](const std::string& name) {
    if (const auto found = named.find(name); found != named.end()) return found->second;
    throw Error(ErrorCode::kNotFound, "[python] expected an array named \"" + name + "\"");
  };
  TokamaxOptions options;
  options.block = {block_shape.first, block_shape.second};
  options.is_dkv = is_dkv;
  options.downcast_smem_data = downcast_smem_data;
  options.q_seq_shards = q_seq_shards;
  options.kv_seq_shards = kv_seq_shards;
  options.return_dynamic_grid = return_dynamic_grid;
  options.threads = threads;

  TokamaxPass pass;
  Bools bools;
  {
    nb::gil_scoped_release released;
    pass = CompileTokamax(ParseMask(text, {shape.first, shape.second}, resolve), options);
    bools = Expand(pass.info.partial_mask_blocks);
  }
  const TokamaxMaskInfo& info = pass.info;
  nb::object blocks = nb::none();
  if (const auto& packed = info.partial_mask_blocks) {
    blocks = ToNumpy(bools.get(), {packed->count(), packed->rows(), packed->columns()},
                     DType::kBool, bools);
  }
  return nb::make_tuple(
      nb::make_tuple(ToNumpy(info.mask_next), ToNumpy(info.active_rows), ToNumpy(info.active_cols),
                     ToNumpy(info.block_mask), ToNumpy(info.num_active_blocks), blocks,
                     ToNumpy(info.q_sequence)),
      pass.mask_function ? nb::object(nb::cast(ToString(*pass.mask_function))) : nb::none());
}

}  // namespace

void BindTokamax(nb::module_& m) {
  m.def("process_tokamax_mask", &ProcessTokamaxMask, nb::arg("text"), nb::arg("shape"),
        nb::arg("arrays"), nb::arg("block_shape"), nb::kw_only(), nb::arg("is_dkv") = false,
        nb::arg("downcast_smem_data") = true, nb::arg("q_seq_shards") = 1,
        nb::arg("kv_seq_shards") = 1, nb::arg("return_dynamic_grid") = true, nb::arg("threads") = 0,
        "Returns (fields of tokamax's MaskInfo with bool blocks, text of the mask function or "
        "None).");
}

}  // namespace splashmask
