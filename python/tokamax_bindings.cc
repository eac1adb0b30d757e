// SPDX-License-Identifier: Apache-2.0
// process_tokamax_mask: one pass in the tokamax dialect.

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <utility>

#include "splashmask/planner/compile/tokamax.h"
#include "splashmask/python/interruptible.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/numpy.h"

namespace splashmask::python {

namespace {

nb::tuple ProcessTokamaxMask(const MaskObject& mask, const Pair& block_shape, bool is_dkv,
                             bool downcast_smem_data, int64_t q_seq_shards, int64_t kv_seq_shards,
                             bool return_dynamic_grid, bool simplify, int threads) {
  TokamaxOptions options;
  options.block = {block_shape.first, block_shape.second};
  options.is_dkv = is_dkv;
  options.downcast_smem_data = downcast_smem_data;
  options.q_seq_shards = q_seq_shards;
  options.kv_seq_shards = kv_seq_shards;
  options.return_dynamic_grid = return_dynamic_grid;
  options.simplify = simplify;
  options.threads = threads;

  const auto [pass, blocks] = RunInterruptibly([&](const Progress& progress) {
    TokamaxOptions interruptible = options;
    interruptible.progress = progress;
    TokamaxPass compiled = CompileTokamax(mask.mask(), interruptible);
    std::optional<ExpandedBlocks> expanded = Expand(compiled.info.partial_mask_blocks);
    return std::pair(std::move(compiled), std::move(expanded));
  });
  const TokamaxMaskInfo& info = pass.info;
  return nb::make_tuple(nb::make_tuple(CopyToNumpy(info.mask_next), CopyToNumpy(info.active_rows),
                                       CopyToNumpy(info.active_cols), CopyToNumpy(info.block_mask),
                                       CopyToNumpy(info.num_active_blocks), ToNumpy(blocks),
                                       CopyToNumpy(info.q_sequence)),
                        pass.mask_function
                            ? nb::cast(std::make_unique<MaskObject>(*pass.mask_function))
                            : nb::none());
}

}  // namespace

void BindTokamax(nb::module_& m) {
  m.def("process_tokamax_mask", &ProcessTokamaxMask, nb::arg("mask"), nb::arg("block_shape"),
        nb::kw_only(), nb::arg("is_dkv") = false, nb::arg("downcast_smem_data") = true,
        nb::arg("q_seq_shards") = 1, nb::arg("kv_seq_shards") = 1,
        nb::arg("return_dynamic_grid") = true, nb::arg("simplify") = false, nb::arg("threads") = 0,
        "Returns (fields of tokamax's MaskInfo with bool blocks, Expr of the mask function or "
        "None).");
}

}  // namespace splashmask::python
