// SPDX-License-Identifier: Apache-2.0
// compile_packed: tables for a batch of packed documents.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>

#include "splashmask/planner/compile/packed.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/numpy.h"

namespace splashmask::python {

namespace {

using Ids = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// [batch, 1, rows, columns], which vmap slices to what the kernel takes.
nb::object Stacked(const Table& table) {
  const auto [batch, rows, columns] = table.shape();
  return ToNumpy(table.data(), {batch, 1, rows, columns}, table.dtype(), table.owner());
}

nb::tuple CompilePackedIds(const Ids& ids, const MaskObject& mask, int64_t block_q,
                           int64_t block_kv, int64_t block_q_dkv, int64_t block_kv_dkv,
                           std::optional<int64_t> width, std::optional<int64_t> height,
                           std::optional<int32_t> pad, bool use_fused_bwd_kernel,
                           bool downcast_smem_data, int threads) {
  PackedOptions options;
  options.fwd = {block_q, block_kv};
  options.dkv = BlockShape{block_q_dkv, block_kv_dkv};
  options.width = width;
  options.height = height;
  options.pad = pad;
  options.use_fused_bwd_kernel = use_fused_bwd_kernel;
  options.downcast_smem_data = downcast_smem_data;
  options.threads = threads;
  const auto batch = static_cast<int64_t>(ids.shape(0));
  const auto length = static_cast<int64_t>(ids.shape(1));

  const PackedTables tables = [&] {
    const nb::gil_scoped_release released;
    return CompilePacked({ids.data(), batch, length}, mask.mask(), options);
  }();
  const auto pass = [](const PackedPass& one) {
    return nb::make_tuple(Stacked(one.data_next), Stacked(one.block_mask));
  };
  return nb::make_tuple(pass(tables.fwd), pass(tables.dkv));
}

}  // namespace

void BindPacked(nb::module_& m) {
  m.def("compile_packed", &CompilePackedIds, nb::arg("segment_ids").noconvert(), nb::arg("mask"),
        nb::arg("block_q"), nb::arg("block_kv"), nb::kw_only(), nb::arg("block_q_dkv"),
        nb::arg("block_kv_dkv"), nb::arg("width").none(), nb::arg("height").none(),
        nb::arg("pad").none(), nb::arg("use_fused_bwd_kernel"), nb::arg("downcast_smem_data"),
        nb::arg("threads"),
        "segment_ids: int32[batch, length]. Returns ((data_next, block_mask) of fwd, the same of "
        "dkv).");
}

}  // namespace splashmask::python
