// SPDX-License-Identifier: Apache-2.0
// The module splashmask._core: thin shims between NumPy and the library.

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/parse.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/python/packed_bindings.h"

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

// ---- Python -> library

DType ToDType(nb::dlpack::dtype dtype, const std::string& name) {
  for (const auto& [ours, numpys] : kDTypes) {
    if (dtype == numpys) return ours;
  }
  throw Error(
      ErrorCode::kInvalidArray,
      fmt::format("[python] expected \"{}\" to hold bools or integers, got another dtype of "
                  "{} bits",
                  name, dtype.bits));
}

// Shares the memory of a C-contiguous array; NumPy copies any other layout.
Array ToArray(nb::handle object, const std::string& name) {
  auto input = std::make_unique<InputArray>();
  if (!nb::try_cast(object, *input)) {
    throw Error(ErrorCode::kInvalidArray,
                fmt::format("[python] expected \"{}\" to be an array of bools or integers in this "
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
  return Array(dtype, std::move(shape), std::move(shared), name);
}

class NamedArrays {
 public:
  explicit NamedArrays(const PythonArrays& arrays) {
    for (const auto& [name, array] : arrays) arrays_.emplace(name, ToArray(array, name));
  }

  Array operator()(const std::string& name) const {
    if (const auto found = arrays_.find(name); found != arrays_.end()) return found->second;
    std::string known;
    for (const auto& [key, array] : arrays_) known += (known.empty() ? "" : ", ") + key;
    throw Error(ErrorCode::kNotFound, fmt::format("[python] expected an array named \"{}\", got {}",
                                                  name, known.empty() ? "none" : known));
  }

 private:
  std::map<std::string, Array> arrays_;
};

BlockShape ToBlockShape(const Pair& pair) { return {pair.first, pair.second}; }

std::optional<BlockShape> ToBlockShape(const std::optional<Pair>& pair) {
  return pair ? std::optional(ToBlockShape(*pair)) : std::nullopt;
}

// ---- library -> Python

nb::dlpack::dtype ToNumpy(DType dtype) {
  return std::ranges::find(kDTypes, dtype, [](const auto& pair) { return pair.first; })->second;
}

// A NumPy array over memory that lives as long as `owner` does.
template <typename Owner>
nb::object ToNumpy(const std::byte* data, const std::vector<int64_t>& shape, DType dtype,
                   Owner owner) {
  nb::capsule capsule(new Owner(std::move(owner)),
                      [](void* pointer) noexcept { delete static_cast<Owner*>(pointer); });
  const std::vector<size_t> extents(shape.begin(), shape.end());
  // Nobody else sees the memory, so that Python may write to it.
  return nb::cast(nb::ndarray<nb::numpy>(const_cast<std::byte*>(data), extents.size(),
                                         extents.data(), capsule, nullptr, ToNumpy(dtype)));
}

nb::object ToNumpy(const std::optional<Table>& table) {
  if (!table) return nb::none();
  return ToNumpy(table->data(), {table->shape().begin(), table->shape().end()}, table->dtype(),
                 table->owner());
}

nb::object ToNumpy(const std::optional<Array>& array) {
  if (!array) return nb::none();
  // The plan's array may be the caller's own, which a result must not share.
  auto copy =
      std::make_shared<std::vector<std::byte>>(array->data(), array->data() + array->size_bytes());
  const std::byte* data = copy->data();
  return ToNumpy(data, array->shape(), array->dtype(), std::move(copy));
}

// One byte a cell, as NumPy's bools are. Needs no GIL.
struct ExpandedBlocks {
  std::vector<int64_t> shape;
  std::shared_ptr<std::byte[]> bools;
};

std::optional<ExpandedBlocks> Expand(const std::optional<PartialMaskBlocks>& blocks) {
  if (!blocks) return std::nullopt;
  const int64_t rows = blocks->count() * blocks->rows();
  ExpandedBlocks expanded{blocks->leading(), std::make_shared_for_overwrite<std::byte[]>(
                                                 static_cast<size_t>(rows * blocks->columns()))};
  expanded.shape.insert(expanded.shape.end(), {blocks->rows(), blocks->columns()});
  UnpackBoolRows(blocks->data(), rows, blocks->columns(), expanded.bools.get());
  return expanded;
}

nb::tuple ToTuple(const MaskInfo& info, const std::optional<ExpandedBlocks>& blocks) {
  const nb::object partial_mask_blocks =
      blocks ? ToNumpy(blocks->bools.get(), blocks->shape, DType::kBool, blocks->bools)
             : nb::object(nb::none());
  return nb::make_tuple(ToNumpy(info.data_next), ToNumpy(info.mask_next), ToNumpy(info.block_mask),
                        partial_mask_blocks, ToNumpy(info.q_sequence),
                        info.is_dynamic_mask ? nb::object(nb::bool_(true)) : nb::none());
}

// ---- functions

nb::tuple ProcessMask(const std::string& text, const Pair& shape, int64_t num_heads,
                      const PythonArrays& arrays, const Pair& block_shape, bool is_dkv,
                      bool downcast_smem_data, int64_t head_shards, int64_t q_seq_shards,
                      bool shrink_grid, int threads) {
  const NamedArrays resolve(arrays);
  CompileOptions options;
  (is_dkv ? options.dkv : options.fwd) = ToBlockShape(block_shape);
  options.plan.head_shards = head_shards;
  options.plan.q_seq_shards = q_seq_shards;
  options.plan.downcast_smem_data = downcast_smem_data;
  options.plan.shrink_grid = shrink_grid;
  options.threads = threads;

  CompiledPass pass;
  std::optional<ExpandedBlocks> blocks;
  {
    nb::gil_scoped_release released;
    const MultiHeadMask mask =
        ParseMultiHeadMask(text, {shape.first, shape.second}, num_heads, std::cref(resolve));
    Plan plan = Compile(mask, options);
    pass = *std::move(is_dkv ? plan.dkv : plan.fwd);
    blocks = Expand(pass.info.partial_mask_blocks);
  }
  return nb::make_tuple(
      ToTuple(pass.info, blocks),
      pass.mask_function ? nb::object(nb::cast(ToString(*pass.mask_function))) : nb::none());
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

std::optional<std::string> CompileAndCertify(
    const std::string& text, const Pair& shape, int64_t num_heads, const PythonArrays& arrays,
    const std::optional<Pair>& fwd, const std::optional<Pair>& dq, const std::optional<Pair>& dkv,
    bool downcast_smem_data, int64_t head_shards, int64_t q_seq_shards, bool shrink_grid,
    bool use_fused_bwd_kernel, int threads) {
  const NamedArrays resolve(arrays);
  CompileOptions options;
  options.fwd = ToBlockShape(fwd);
  options.dq = ToBlockShape(dq);
  options.dkv = ToBlockShape(dkv);
  options.plan = {head_shards, q_seq_shards, downcast_smem_data, shrink_grid, use_fused_bwd_kernel};
  options.threads = threads;

  nb::gil_scoped_release released;
  const MultiHeadMask mask =
      ParseMultiHeadMask(text, {shape.first, shape.second}, num_heads, std::cref(resolve));
  CertifyOptions certify_options;
  certify_options.threads = threads;
  const Certificate certificate = Certify(Compile(mask, options), certify_options);
  return certificate.mismatch ? std::optional(certificate.mismatch->ToString()) : std::nullopt;
}

// Raises splashmask.Error, a ValueError that also carries the code.
void TranslateError(const std::exception_ptr& exception, void* type) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    const nb::handle error_type(static_cast<PyObject*>(type));
    const std::string_view code = ErrorCodeName(error.code());
    nb::object value = error_type(error.what());
    value.attr("code") = nb::str(code.data(), code.size());
    PyErr_SetObject(error_type.ptr(), value.ptr());
  }
}

}  // namespace

NB_MODULE(_core, m) {
  PyObject* error_type = PyErr_NewExceptionWithDoc(
      "splashmask.Error", "Input that cannot be used; `code` names the kind.", PyExc_ValueError,
      nullptr);
  m.attr("Error") = nb::steal(error_type);
  nb::register_exception_translator(TranslateError, error_type);

  m.def("process_mask", &ProcessMask, nb::arg("text"), nb::arg("shape"), nb::arg("num_heads"),
        nb::arg("arrays"), nb::arg("block_shape"), nb::kw_only(), nb::arg("is_dkv") = false,
        nb::arg("downcast_smem_data") = true, nb::arg("head_shards") = 1,
        nb::arg("q_seq_shards") = 1, nb::arg("shrink_grid") = true, nb::arg("threads") = 0,
        "Returns (fields of MaskInfo, text of the mask function or None).");
  m.def("process_dynamic_mask", &ProcessDynamicMask, nb::arg("mask"), nb::arg("block_shape"),
        nb::kw_only(), nb::arg("is_dkv") = false, nb::arg("downcast_smem_data") = true,
        nb::arg("head_shards") = 1, nb::arg("q_seq_shards") = 1, nb::arg("threads") = 0,
        "Returns the fields of MaskInfo.");
  m.def(
      "certify", &CompileAndCertify, nb::arg("text"), nb::arg("shape"), nb::arg("num_heads"),
      nb::arg("arrays"), nb::kw_only(), nb::arg("fwd") = nb::none(), nb::arg("dq") = nb::none(),
      nb::arg("dkv") = nb::none(), nb::arg("downcast_smem_data") = true, nb::arg("head_shards") = 1,
      nb::arg("q_seq_shards") = 1, nb::arg("shrink_grid") = true,
      nb::arg("use_fused_bwd_kernel") = false, nb::arg("threads") = 0,
      "Compiles and certifies: None when every table entry is right, else the first that is not.");
  python::BindPacked(m);
}

}  // namespace splashmask
