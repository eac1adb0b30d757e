// SPDX-License-Identifier: Apache-2.0
// process_mask, and _core.Plan: everything compiled from one multi-head mask.

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "splashmask/io/plan_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/simplify_savings.h"
#include "splashmask/planner/compile/tokamax.h"
#include "splashmask/planner/picture.h"
#include "splashmask/planner/plan_statistics.h"
#include "splashmask/python/interruptible.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/numpy.h"
#include "splashmask/python/plan_object.h"

namespace splashmask::python {

Pass ToPass(const std::string& name) {
  for (Pass pass : kAllPasses) {
    if (name == PassName(pass)) return pass;
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[plan] expected a pass fwd, dq or dkv, got \"{}\"", name));
}

namespace {

BlockShape ToBlockShape(const Pair& pair) { return {pair.first, pair.second}; }
std::optional<BlockShape> ToBlockShape(const std::optional<Pair>& pair) {
  return pair ? std::optional(ToBlockShape(*pair)) : std::nullopt;
}

nb::object ToObject(const std::optional<Mask>& mask) {
  return mask ? nb::cast(std::make_unique<MaskObject>(*mask)) : nb::none();
}

// ---- One pass, as JAX's functions want it.

nb::tuple ProcessMask(const std::vector<const MaskObject*>& heads, const Pair& block_shape,
                      bool is_dkv, bool downcast_smem_data, int64_t head_shards,
                      int64_t q_seq_shards, bool shrink_grid, bool simplify, int threads) {
  CompileOptions options;
  (is_dkv ? options.dkv : options.fwd) = ToBlockShape(block_shape);
  options.plan.head_shards = head_shards;
  options.plan.q_seq_shards = q_seq_shards;
  options.plan.downcast_smem_data = downcast_smem_data;
  options.plan.shrink_grid = shrink_grid;
  options.plan.simplify = simplify;
  options.threads = threads;

  const MultiHeadMask mask = ToMultiHeadMask(heads);
  const auto [pass, blocks] = RunInterruptibly([&](const Progress& progress) {
    CompileOptions interruptible = options;
    interruptible.progress = progress;
    Plan plan = Compile(mask, interruptible);
    CompiledPass compiled = *std::move(is_dkv ? plan.dkv : plan.fwd);
    std::optional<ExpandedBlocks> expanded = Expand(compiled.info.partial_mask_blocks);
    return std::pair(std::move(compiled), std::move(expanded));
  });
  return nb::make_tuple(ToTuple(pass.info, blocks), ToObject(pass.mask_function));
}

nb::tuple ProcessDynamicMask(const nb::handle& mask, const Pair& block_shape, bool is_dkv,
                             bool downcast_smem_data, int64_t head_shards, int64_t q_seq_shards,
                             int threads) {
  const Array array = ToArray(mask, "mask");
  if (array.dtype() != DType::kBool || array.shape().size() != 3) {
    throw Error(ErrorCode::kInvalidArray,
                fmt::format("[python] expected mask to be bool[heads, q_len, kv_len], got {} of "
                            "rank {}",
                            DTypeName(array.dtype()), array.shape().size()));
  }
  PlanOptions options;
  options.head_shards = head_shards;
  options.q_seq_shards = q_seq_shards;
  options.downcast_smem_data = downcast_smem_data;

  MaskInfo info;
  std::optional<ExpandedBlocks> blocks;
  {
    nb::gil_scoped_release released;
    const DynamicMask dynamic{array.data(), array.shape()[0], {array.shape()[1], array.shape()[2]}};
    info = CompileDynamic(dynamic, ToBlockShape(block_shape), is_dkv, options, threads);
    blocks = Expand(info.partial_mask_blocks);
  }
  return ToTuple(info, blocks);
}

// ---- Whole plans.

std::unique_ptr<PlanObject> CompilePlan(const std::vector<const MaskObject*>& heads,
                                        const std::optional<Pair>& fwd,
                                        const std::optional<Pair>& dq,
                                        const std::optional<Pair>& dkv, bool downcast_smem_data,
                                        int64_t head_shards, int64_t q_seq_shards, bool shrink_grid,
                                        bool use_fused_bwd_kernel, bool simplify, int threads) {
  CompileOptions options;
  options.fwd = ToBlockShape(fwd);
  options.dq = ToBlockShape(dq);
  options.dkv = ToBlockShape(dkv);
  options.plan = {head_shards, q_seq_shards,         downcast_smem_data,
                  shrink_grid, use_fused_bwd_kernel, simplify};
  options.threads = threads;
  const MultiHeadMask mask = ToMultiHeadMask(heads);
  return RunInterruptibly([&](const Progress& progress) {
    CompileOptions interruptible = options;
    interruptible.progress = progress;
    return std::make_unique<PlanObject>(PlanObject{Compile(mask, interruptible)});
  });
}

// (block_shape, q_seq_shards, kv_seq_shards, downcast_smem_data, return_dynamic_grid, simplify)
using TokamaxArguments = std::tuple<Pair, int64_t, int64_t, bool, bool, bool>;

std::unique_ptr<PlanObject> CompileTokamaxPlan(const std::vector<const MaskObject*>& heads,
                                               const std::optional<TokamaxArguments>& fwd,
                                               const std::optional<TokamaxArguments>& dkv,
                                               int threads) {
  const MultiHeadMask mask = ToMultiHeadMask(heads);
  return RunInterruptibly([&](const Progress& progress) {
    auto object = std::make_unique<PlanObject>(PlanObject{{mask, {}, {}, {}, {}}});
    for (Pass which : kTokamaxPasses) {
      const std::optional<TokamaxArguments>& given = which == Pass::kDkv ? dkv : fwd;
      if (!given) continue;
      const auto& [block, q_seq_shards, kv_seq_shards, downcast, dynamic_grid, simplify] = *given;
      const TokamaxPassOptions options{ToBlockShape(block), q_seq_shards, kv_seq_shards, downcast,
                                       dynamic_grid,        simplify};
      object->plan.tokamax_pass(which) =
          CompileTokamax(mask.masks().front(), {options, which == Pass::kDkv, threads, progress});
    }
    return object;
  });
}

std::unique_ptr<PlanObject> Load(const std::string& path) {
  return RunInterruptibly([&](const Progress& progress) {
    ReadOptions options;
    options.progress = progress;
    return std::make_unique<PlanObject>(PlanObject{ReadPlan(path, options).plan});
  });
}

std::string Save(const PlanObject& object, const std::string& path) {
  return RunInterruptibly(
      [&](const Progress& progress) { return WritePlan(object.plan, path, progress).plan_digest; });
}

// None, or what is wrong: (pass, table, index, head, q, kv, expected, got, text).
nb::object Verify(const PlanObject& object, int threads) {
  const Certificate certificate = RunInterruptibly([&](const Progress& progress) {
    return Certify(object.plan, {threads, progress});
  });
  if (!certificate.mismatch) return nb::none();
  const Mismatch& wrong = *certificate.mismatch;
  return nb::make_tuple(wrong.PassPath(), wrong.table, wrong.index, wrong.head, wrong.q, wrong.kv,
                        wrong.expected, wrong.got, wrong.ToString());
}

std::string Show(const PlanObject& object, const std::optional<std::string>& pass_name,
                 int64_t head, int width) {
  const PassGrid shown = LayOutBlocks(object.plan, pass_name, head);
  return DrawPicture(shown.grid, shown.block, {width, Colours::kNone});
}

// uint8[P, rows, ceil(columns / 8)], read-only, over the plan's own memory.
nb::object PackedToNumpy(const std::optional<PartialMaskBlocks>& blocks) {
  if (!blocks) return nb::none();
  std::vector<int64_t> shape = blocks->leading();
  shape.insert(shape.end(), {blocks->rows(), blocks->row_bytes()});
  return ToNumpy(blocks->data(), shape, DType::kUInt8, blocks->owner(), /*writable=*/false);
}

// None for a pass that the plan lacks, else its block shape, small tables and mask function; the
// partial blocks come packed, uint8[P, rows, ceil(columns / 8)], and their columns beside them.
nb::object PassTables(const PlanObject& object, const std::string& name) {
  const std::optional<CompiledPass>& pass = object.plan.pass(ToPass(name));
  if (!pass) return nb::none();
  const MaskInfo& info = pass->info;
  constexpr bool kReadOnly = false;
  const int64_t columns = info.partial_mask_blocks ? info.partial_mask_blocks->columns() : 0;
  const auto table = [&](const std::optional<Table>& one) { return ToNumpy(one, kReadOnly); };
  return nb::make_tuple(
      Pair(pass->block.q, pass->block.kv), table(info.data_next), table(info.mask_next),
      table(info.block_mask), PackedToNumpy(info.partial_mask_blocks), columns,
      info.q_sequence ? ToNumpy(*info.q_sequence) : nb::none(), ToObject(pass->mask_function));
}

nb::object ExpandToNumpy(const std::optional<PartialMaskBlocks>& packed) {
  std::optional<ExpandedBlocks> blocks;
  {
    const nb::gil_scoped_release released;
    blocks = Expand(packed);
  }
  return ToNumpy(blocks);
}

nb::object ExpandPartialBlocks(const PlanObject& object, const std::string& name) {
  const std::optional<CompiledPass>& pass = object.plan.pass(ToPass(name));
  return pass ? ExpandToNumpy(pass->info.partial_mask_blocks) : nb::none();
}

// The same of a pass in tokamax's dialect: its options, lists, packed blocks, positions and mask
// function.
nb::object TokamaxTables(const PlanObject& object, const std::string& name) {
  const std::optional<TokamaxPass>& pass = object.plan.tokamax_pass(ToPass(name));
  if (!pass) return nb::none();
  const TokamaxPassOptions& options = pass->options;
  const TokamaxMaskInfo& info = pass->info;
  const auto list = [](const std::optional<Array>& one) {
    return one ? ToNumpy(*one) : nb::object(nb::none());
  };
  return nb::make_tuple(TokamaxArguments{{options.block.q, options.block.kv},
                                         options.q_seq_shards,
                                         options.kv_seq_shards,
                                         options.downcast_smem_data,
                                         options.return_dynamic_grid,
                                         options.simplify},
                        list(info.mask_next), list(info.active_rows), list(info.active_cols),
                        list(info.block_mask), list(info.num_active_blocks),
                        PackedToNumpy(info.partial_mask_blocks), list(info.q_sequence),
                        ToObject(pass->mask_function));
}

nb::object ExpandTokamaxBlocks(const PlanObject& object, const std::string& name) {
  const std::optional<TokamaxPass>& pass = object.plan.tokamax_pass(ToPass(name));
  return pass ? ExpandToNumpy(pass->info.partial_mask_blocks) : nb::none();
}

nb::dict Digests(const PlanObject& object) {
  PlanDigests digests;
  {
    nb::gil_scoped_release released;
    digests = ComputeDigests(object.plan);
  }
  nb::dict result;
  result["mask_digest"] = digests.mask_digest;
  result["plan_digest"] = digests.plan_digest;
  result["content_digest"] = digests.content_digest;
  return result;
}

nb::dict CostDict(const MaskCost& cost) {
  nb::dict passes;
  for (const MaskCost::PassCost& pass : cost.passes) {
    nb::dict one;
    one["computed"] = pass.is_computed;
    one["partial_blocks"] = pass.partial_blocks;
    one["partial_bytes"] = pass.partial_bytes;
    passes[nb::str(PassName(pass.pass).data())] = one;
  }
  nb::dict result;
  result["masks"] = cost.masks;
  result["nodes"] = cost.nodes;
  result["passes"] = passes;
  return result;
}

// As the command's JSON.
nb::dict Savings(const PlanObject& object, int threads) {
  const SimplifySavings savings = RunInterruptibly(
      [&](const Progress& progress) { return FindSavings(object.plan, threads, progress); });
  nb::dict result;
  result["before"] = savings.before ? nb::object(CostDict(*savings.before)) : nb::none();
  result["after"] = CostDict(savings.after);
  return result;
}

nb::list Heads(const PlanObject& object) {
  nb::list heads;
  for (const Mask& mask : object.plan.mask.masks()) {
    heads.append(nb::cast(std::make_unique<MaskObject>(mask)));
  }
  return heads;
}

nb::dict Options(const PlanObject& object) {
  const PlanOptions& options = object.plan.options;
  nb::dict result;
  result["head_shards"] = options.head_shards;
  result["q_seq_shards"] = options.q_seq_shards;
  result["downcast_smem_data"] = options.downcast_smem_data;
  result["shrink_grid"] = options.shrink_grid;
  result["use_fused_bwd_kernel"] = options.use_fused_bwd_kernel;
  result["simplify"] = options.simplify;
  return result;
}

}  // namespace

void BindPlan(nb::module_& m) {
  m.def("process_mask", &ProcessMask, nb::arg("heads"), nb::arg("block_shape"), nb::kw_only(),
        nb::arg("is_dkv"), nb::arg("downcast_smem_data") = true, nb::arg("head_shards") = 1,
        nb::arg("q_seq_shards") = 1, nb::arg("shrink_grid") = true, nb::arg("simplify") = false,
        nb::arg("threads") = 0, "Returns (fields of MaskInfo, Expr of the mask function or None).");
  m.def("process_dynamic_mask", &ProcessDynamicMask, nb::arg("mask"), nb::arg("block_shape"),
        nb::kw_only(), nb::arg("is_dkv") = false, nb::arg("downcast_smem_data") = true,
        nb::arg("head_shards") = 1, nb::arg("q_seq_shards") = 1, nb::arg("threads") = 0,
        "Returns the fields of MaskInfo.");
  nb::class_<PlanObject>(m, "Plan", "Tables of the passes of one multi-head mask.")
      .def_static("load", &Load, nb::arg("path"))
      .def("save", &Save, nb::arg("path"), "Returns the plan digest.")
      .def("verify", &Verify, nb::arg("threads") = 0)
      .def("show", &Show, nb::arg("pass_name").none(), nb::arg("head"), nb::arg("width"))
      .def("pass_tables", &PassTables, nb::arg("pass_name"))
      .def("partial_mask_blocks", &ExpandPartialBlocks, nb::arg("pass_name"))
      .def("tokamax_tables", &TokamaxTables, nb::arg("pass_name"))
      .def("tokamax_partial_mask_blocks", &ExpandTokamaxBlocks, nb::arg("pass_name"))
      .def("digests", &Digests)
      .def("savings", &Savings, nb::arg("threads"))
      .def("heads", &Heads)
      .def("options", &Options);
  m.def(
      "compile", &CompilePlan, nb::arg("heads"), nb::kw_only(), nb::arg("fwd") = nb::none(),
      nb::arg("dq") = nb::none(), nb::arg("dkv") = nb::none(), nb::arg("downcast_smem_data") = true,
      nb::arg("head_shards") = 1, nb::arg("q_seq_shards") = 1, nb::arg("shrink_grid") = true,
      nb::arg("use_fused_bwd_kernel") = false, nb::arg("simplify") = false, nb::arg("threads") = 0);
  m.def("compile_tokamax", &CompileTokamaxPlan, nb::arg("heads"), nb::kw_only(),
        nb::arg("fwd") = nb::none(), nb::arg("dkv") = nb::none(), nb::arg("threads") = 0,
        "A pass is (block_shape, q_seq_shards, kv_seq_shards, downcast_smem_data, "
        "return_dynamic_grid, simplify).");
}

}  // namespace splashmask::python
