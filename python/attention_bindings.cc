// SPDX-License-Identifier: Apache-2.0
// _core.Attention: attention on this machine's processors, on arrays in anybody's memory.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <tuple>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/trace.h"
#include "splashmask/python/interruptible.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/plan_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

// float32, or the bits of bfloat16 as uint16: [batch, heads, length, dim].
using Floats = nb::ndarray<nb::ro, nb::ndim<4>, nb::device::cpu>;
using WritableFloats = nb::ndarray<nb::ndim<4>, nb::device::cpu>;
using Vector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WritableVector = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename Result, typename Array>
Result ToTensor(const Array& array) {
  Result tensor;
  tensor.data = array.data();
  tensor.type = array.dtype() == nb::dtype<float>() ? FloatType::kFloat32 : FloatType::kBFloat16;
  tensor.batch = static_cast<int64_t>(array.shape(0));
  tensor.heads = static_cast<int64_t>(array.shape(1));
  tensor.length = static_cast<int64_t>(array.shape(2));
  tensor.dim = static_cast<int64_t>(array.shape(3));
  tensor.strides = {array.stride(0), array.stride(1), array.stride(2), array.stride(3)};
  return tensor;
}

template <typename Array>
auto ToSpan(const std::optional<Array>& array) {
  return array ? std::span(array->data(), array->size())
               : std::span<std::remove_pointer_t<decltype(array->data())>>();
}

AttentionInputs ToInputs(const Floats& q, const Floats& k, const Floats& v,
                         const std::optional<Ids>& q_ids, const std::optional<Ids>& kv_ids,
                         const std::optional<Vector>& sinks) {
  AttentionInputs inputs{ToTensor<ConstTensor>(q),
                         ToTensor<ConstTensor>(k),
                         ToTensor<ConstTensor>(v),
                         {},
                         ToSpan(sinks)};
  if (q_ids) inputs.segment_ids = AttentionSegmentIds{ToSpan(q_ids), ToSpan(kv_ids)};
  return inputs;
}

void Forward(const SplashAttention& attention, const Floats& q, const Floats& k, const Floats& v,
             const WritableFloats& out, const std::optional<WritableVector>& logsumexp,
             const std::optional<Ids>& q_ids, const std::optional<Ids>& kv_ids,
             const std::optional<Vector>& sinks) {
  const AttentionInputs inputs = ToInputs(q, k, v, q_ids, kv_ids, sinks);
  RunInterruptibly([&](const Progress& progress) {
    attention.Forward(inputs, ToTensor<Tensor>(out), ToSpan(logsumexp), progress);
    return 0;
  });
}

void Backward(const SplashAttention& attention, const Floats& q, const Floats& k, const Floats& v,
              const Floats& out, const Vector& logsumexp, const Floats& d_out,
              const WritableFloats& dq, const WritableFloats& dk, const WritableFloats& dv,
              const std::optional<WritableVector>& d_sinks, const std::optional<Ids>& q_ids,
              const std::optional<Ids>& kv_ids, const std::optional<Vector>& sinks) {
  const AttentionInputs inputs = ToInputs(q, k, v, q_ids, kv_ids, sinks);
  const AttentionGradients gradients{ToTensor<Tensor>(dq), ToTensor<Tensor>(dk),
                                     ToTensor<Tensor>(dv), ToSpan(d_sinks)};
  RunInterruptibly([&](const Progress& progress) {
    attention.Backward(inputs, {ToTensor<ConstTensor>(out), ToSpan(std::optional(logsumexp))},
                       ToTensor<ConstTensor>(d_out), gradients, progress);
    return 0;
  });
}

// The bits of a bfloat16 array, which NumPy's DLPack does not know, where they are.
nb::ndarray<nb::numpy, uint16_t> BFloat16Bits(const nb::object& owner) {
  const auto array = nb::cast<nb::ndarray<nb::device::cpu>>(owner);
  constexpr auto kBfloat = static_cast<uint8_t>(nb::dlpack::dtype_code::Bfloat);
  if (array.dtype().code != kBfloat || array.dtype().bits != 16) {
    throw nb::type_error("expected bfloat16");
  }
  std::vector<size_t> shape;
  std::vector<int64_t> strides;
  for (size_t i = 0; i < array.ndim(); ++i) {
    shape.push_back(array.shape(i));
    strides.push_back(array.stride(i));
  }
  return {array.data(), shape.size(), shape.data(), owner, strides.data()};
}

// Each shard's (kernel_name, grid, (steps, skipped, partial, full), operands), an operand being
// (name, block, block_bytes, is_output, copies).
nb::list Trace(const PlanObject& plan, const std::string& pass_name, int64_t kv_heads,
               int64_t head_dim, int64_t head_dim_v, bool is_bfloat16, bool has_segment_ids,
               bool has_sinks, bool save_residuals, int64_t block_kv_compute) {
  const KernelCall call{kv_heads,        head_dim,
                        head_dim_v,      is_bfloat16 ? FloatType::kBFloat16 : FloatType::kFloat32,
                        has_segment_ids, has_sinks,
                        save_residuals,  block_kv_compute};
  const Pass pass = ToPass(pass_name);
  std::vector<GridTrace> traces;
  {
    const nb::gil_scoped_release released;
    traces = TraceGrid(plan.plan, pass, call);
  }
  nb::list result;
  for (const GridTrace& trace : traces) {
    nb::list operands;
    for (const OperandCopies& one : trace.operands) {
      operands.append(
          nb::make_tuple(one.name, one.block, one.block_bytes, one.is_output, one.copies));
    }
    result.append(nb::make_tuple(
        trace.kernel_name, nb::make_tuple(trace.grid[0], trace.grid[1], trace.grid[2]),
        nb::make_tuple(trace.steps, trace.skipped, trace.partial, trace.full), operands));
  }
  return result;
}

}  // namespace

void BindAttention(nb::module_& m) {
  m.def("bfloat16_bits", &BFloat16Bits, nb::arg("array"),
        "uint16 of an array that hands its memory over by DLPack. Raises TypeError for other "
        "dtypes.");
  m.def("trace", &Trace, nb::arg("plan"), nb::arg("pass"), nb::arg("kv_heads"), nb::arg("head_dim"),
        nb::arg("head_dim_v"), nb::arg("is_bfloat16"), nb::arg("has_segment_ids"),
        nb::arg("has_sinks"), nb::arg("save_residuals"), nb::arg("block_kv_compute"));
  nb::class_<SplashAttention>(m, "Attention")
      .def(
          "__init__",
          [](SplashAttention* self, const PlanObject& plan, std::optional<float> soft_cap,
             int threads, std::optional<std::tuple<float, int64_t, int64_t>> jax) {
            AttentionOptions options{soft_cap, threads, {}};
            if (jax) {
              const auto [mask_value, block_kv, block_kv_dkv] = *jax;
              options.compat_jax = JaxKernel{mask_value, block_kv, block_kv_dkv};
            }
            new (self) SplashAttention(plan.plan, options);
          },
          nb::arg("plan"), nb::arg("attn_logits_soft_cap").none(), nb::arg("threads"),
          nb::arg("compat_jax").none(),
          "compat_jax: (mask_value, block_kv_compute, block_kv_dkv_compute).")
      .def("forward", &Forward, nb::arg("q").noconvert(), nb::arg("k").noconvert(),
           nb::arg("v").noconvert(), nb::arg("out").noconvert(),
           nb::arg("logsumexp").noconvert().none(), nb::arg("q_ids").noconvert().none(),
           nb::arg("kv_ids").noconvert().none(), nb::arg("sinks").noconvert().none(),
           "All [batch, heads, length, dim]: float32, or bfloat16 seen as uint16.")
      .def("backward", &Backward, nb::arg("q").noconvert(), nb::arg("k").noconvert(),
           nb::arg("v").noconvert(), nb::arg("out").noconvert(), nb::arg("logsumexp").noconvert(),
           nb::arg("d_out").noconvert(), nb::arg("dq").noconvert(), nb::arg("dk").noconvert(),
           nb::arg("dv").noconvert(), nb::arg("d_sinks").noconvert().none(),
           nb::arg("q_ids").noconvert().none(), nb::arg("kv_ids").noconvert().none(),
           nb::arg("sinks").noconvert().none(), "Writes dq, dk, dv and d_sinks.");
}

}  // namespace splashmask::python
