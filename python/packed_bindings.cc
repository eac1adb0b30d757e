// SPDX-License-Identifier: Apache-2.0
#include "splashmask/python/packed_bindings.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/masks/parse.h"
#include "splashmask/planner/compile/packed.h"

namespace splashmask::python {

namespace nb = nanobind;

namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

nb::dlpack::dtype ToDlpack(DType dtype) {
  return dtype == DType::kInt8    ? nb::dtype<int8_t>()
         : dtype == DType::kInt16 ? nb::dtype<int16_t>()
                                  : nb::dtype<int32_t>();
}

// A NumPy array over memory that lives as long as `owner` does.
template <typename Owner>
nb::object ToNumpy(const std::byte* data, const std::vector<size_t>& shape, DType dtype,
                   Owner owner) {
  const nb::capsule capsule(new Owner(std::move(owner)),
                            [](void* pointer) noexcept { delete static_cast<Owner*>(pointer); });
  return nb::cast(nb::ndarray<nb::numpy>(const_cast<std::byte*>(data), shape.size(), shape.data(),
                                         capsule, nullptr, ToDlpack(dtype)));
}

// [batch, 1, rows, columns], which vmap slices to what the kernel takes.
nb::object ToNumpy(const Table& table) {
  const auto [batch, rows, columns] = table.shape();
  return ToNumpy(
      table.data(),
      {static_cast<size_t>(batch), 1, static_cast<size_t>(rows), static_cast<size_t>(columns)},
      table.dtype(), table.owner());
}

nb::tuple ToTuple(const PackedPass& pass) {
  return nb::make_tuple(ToNumpy(pass.data_next), ToNumpy(pass.block_mask));
}

nb::tuple CompilePackedIds(const Ids& ids, const std::string& mask_text, int64_t block_q,
                           int64_t block_kv, std::optional<int64_t> block_q_dkv,
                           std::optional<int64_t> block_kv_dkv, std::optional<int64_t> width,
                           std::optional<int64_t> height, std::optional<int32_t> pad,
                           bool use_fused_bwd_kernel, bool downcast_smem_data, int threads) {
  PackedOptions options;
  options.fwd = {block_q, block_kv};
  options.dkv = BlockShape{block_q_dkv.value_or(block_q), block_kv_dkv.value_or(block_kv)};
  options.width = width;
  options.height = height;
  options.pad = pad;
  options.use_fused_bwd_kernel = use_fused_bwd_kernel;
  options.downcast_smem_data = downcast_smem_data;
  options.threads = threads;
  const auto batch = static_cast<int64_t>(ids.shape(0)),
             length = static_cast<int64_t>(ids.shape(1));

  const PackedTables tables = [&] {
    const nb::gil_scoped_release released;
    const Mask mask = ParseMask(mask_text, {length, length});
    return CompilePacked({ids.data(), batch, length}, mask, options);
  }();
  return nb::make_tuple(ToTuple(tables.fwd), ToTuple(tables.dkv),
                        ToNumpy(tables.q_sequence.data(), {static_cast<size_t>(length)},
                                tables.q_sequence.dtype(), tables.q_sequence));
}

}  // namespace

void BindPacked(nb::module_& m) {
  m.def("compile_packed", &CompilePackedIds, nb::arg("segment_ids").noconvert(), nb::arg("mask"),
        nb::arg("block_q"), nb::arg("block_kv"), nb::kw_only(), nb::arg("block_q_dkv") = nb::none(),
        nb::arg("block_kv_dkv") = nb::none(), nb::arg("width") = nb::none(),
        nb::arg("height") = nb::none(), nb::arg("pad").none() = 0,
        nb::arg("use_fused_bwd_kernel") = false, nb::arg("downcast_smem_data") = true,
        nb::arg("threads") = 0,
        "segment_ids: int32[batch, length]. Returns ((data_next, block_mask) of fwd, the same of "
        "dkv, q_sequence).");
}

}  // namespace splashmask::python
