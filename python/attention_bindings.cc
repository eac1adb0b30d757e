// SPDX-License-Identifier: Apache-2.0
// _core.Attention: attention on this machine's processors, on arrays in anybody's memory.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>
#include <span>

#include "splashmask/kernels/attention.h"
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

void Forward(const SplashAttention& attention, const Floats& q, const Floats& k, const Floats& v,
             const WritableFloats& out, const std::optional<WritableVector>& logsumexp,
             const std::optional<Ids>& q_ids, const std::optional<Ids>& kv_ids,
             const std::optional<Vector>& sinks) {
  AttentionInputs inputs{ToTensor<ConstTensor>(q),
                         ToTensor<ConstTensor>(k),
                         ToTensor<ConstTensor>(v),
                         {},
                         ToSpan(sinks)};
  if (q_ids) inputs.segment_ids = AttentionSegmentIds{ToSpan(q_ids), ToSpan(kv_ids)};
  RunInterruptibly([&](const Progress& progress) {
    attention.Forward(inputs, ToTensor<Tensor>(out), ToSpan(logsumexp), progress);
    return 0;
  });
}

}  // namespace

void BindAttention(nb::module_& m) {
  nb::class_<SplashAttention>(m, "Attention")
      .def(
          "__init__",
          [](SplashAttention* self, const PlanObject& plan, std::optional<float> soft_cap,
             int threads) {
            new (self) SplashAttention(plan.plan, {soft_cap, threads});
          },
          nb::arg("plan"), nb::arg("attn_logits_soft_cap").none(), nb::arg("threads"))
      .def("forward", &Forward, nb::arg("q").noconvert(), nb::arg("k").noconvert(),
           nb::arg("v").noconvert(), nb::arg("out").noconvert(),
           nb::arg("logsumexp").noconvert().none(), nb::arg("q_ids").noconvert().none(),
           nb::arg("kv_ids").noconvert().none(), nb::arg("sinks").noconvert().none(),
           "All [batch, heads, length, dim]: float32, or bfloat16 seen as uint16.");
}

}  // namespace splashmask::python
