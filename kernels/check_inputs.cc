// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/check_inputs.h"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

template <typename... Arguments>
[[noreturn]] void Refuse(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  throw Error(ErrorCode::kInvalidArgument,
              "[attention] " + fmt::format(format, std::forward<Arguments>(arguments)...));
}

std::string ShapeText(const ConstTensor& tensor) {
  return fmt::format("[{}, {}, {}, {}]", tensor.batch, tensor.heads, tensor.length, tensor.dim);
}

// The bytes from the first element to past the last one.
std::pair<const std::byte*, const std::byte*> Extent(const ConstTensor& tensor) {
  int64_t low = 0, high = 0;
  const auto add = [&](int64_t count, int64_t stride) {
    (stride < 0 ? low : high) += (count - 1) * stride;
  };
  add(tensor.batch, tensor.strides.batch);
  add(tensor.heads, tensor.strides.heads);
  add(tensor.length, tensor.strides.length);
  add(tensor.dim, tensor.strides.dim);
  const auto* data = static_cast<const std::byte*>(tensor.data);
  const int64_t size = FloatSize(tensor.type);
  return {data + low * size, data + (high + 1) * size};
}

void CheckTensor(std::string_view name, const ConstTensor& tensor) {
  if (tensor.batch < 1 || tensor.heads < 1 || tensor.length < 1 || tensor.dim < 1) {
    Refuse("expected {} of at least one element, got shape {}", name, ShapeText(tensor));
  }
  if (tensor.data == nullptr) Refuse("expected data for {}, got none", name);
  if (reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(FloatSize(tensor.type))) {
    Refuse("expected {} aligned to its elements of {} bytes", name, FloatSize(tensor.type));
  }
}

void CheckShape(std::string_view name, const ConstTensor& tensor, const ConstTensor& expected) {
  CheckTensor(name, tensor);
  if (tensor.batch == expected.batch && tensor.heads == expected.heads &&
      tensor.length == expected.length && tensor.dim == expected.dim) {
    return;
  }
  Refuse("expected {} of shape {}, got {}", name, ShapeText(expected), ShapeText(tensor));
}

void CheckApart(std::string_view name, const ConstTensor& out, std::string_view other_name,
                const ConstTensor& other) {
  const auto [a, a_end] = Extent(out);
  const auto [b, b_end] = Extent(other);
  if (a < b_end && b < a_end)
    Refuse("expected {} apart from {}, got both in one memory", name, other_name);
}

void CheckIds(std::string_view side, std::span<const int32_t> ids, int64_t batch, int64_t length) {
  if (std::ssize(ids) == length || std::ssize(ids) == batch * length) return;
  const std::string each =
      batch == 1 ? "" : fmt::format(", or as many for each of {} sequences", batch);
  Refuse("expected segment ids for {} {} positions{}, got {}", length, side, each, ids.size());
}

// q, k, v, segment ids and sinks.
void CheckInputs(const Plan& plan, const AttentionInputs& in) {
  const Shape shape = plan.mask.shape();
  CheckTensor("q", in.q);
  CheckTensor("k", in.k);
  CheckTensor("v", in.v);
  ConstTensor q = in.q, k = in.k, v = in.v;
  q.heads = plan.mask.num_heads();
  q.length = shape.q_len;
  CheckShape("q, as the plan has it,", in.q, q);
  k.batch = v.batch = q.batch;
  k.length = v.length = shape.kv_len;
  k.dim = q.dim;
  CheckShape("k, as the plan and q have it,", in.k, k);
  v.heads = k.heads;
  CheckShape("v, as the plan and k have it,", in.v, v);
  if (q.heads % k.heads != 0) {
    Refuse("expected the heads of k ({}) to divide those of q ({})", k.heads, q.heads);
  }
  if (in.segment_ids) {
    CheckIds("q", in.segment_ids->q, q.batch, shape.q_len);
    CheckIds("kv", in.segment_ids->kv, q.batch, shape.kv_len);
  }
  if (!in.sinks.empty() && std::ssize(in.sinks) != q.heads) {
    Refuse("expected a sink for each of {} heads, got {}", q.heads, in.sinks.size());
  }
}

ConstTensor OutputShape(const AttentionInputs& in) {
  ConstTensor expected = in.q;
  expected.dim = in.v.dim;
  return expected;
}

void CheckLogsumexp(const AttentionInputs& in, std::span<const float> logsumexp) {
  const int64_t rows = in.q.batch * in.q.heads * in.q.length;
  if (std::ssize(logsumexp) == rows) return;
  Refuse("expected logsumexp of {} elements, got {}", rows, logsumexp.size());
}

}  // namespace

void CheckForward(const Plan& plan, const AttentionInputs& in, const Tensor& out,
                  std::span<const float> logsumexp) {
  CheckInputs(plan, in);
  CheckShape("out", out, OutputShape(in));
  if (!logsumexp.empty()) CheckLogsumexp(in, logsumexp);
  CheckApart("out", out, "q", in.q);
  CheckApart("out", out, "k", in.k);
  CheckApart("out", out, "v", in.v);
}

void CheckBackward(const Plan& plan, const AttentionInputs& in, const ForwardResult& forward,
                   const ConstTensor& d_out, const AttentionGradients& gradients) {
  CheckInputs(plan, in);
  CheckShape("out", forward.out, OutputShape(in));
  CheckLogsumexp(in, forward.logsumexp);
  CheckShape("d_out", d_out, OutputShape(in));
  CheckShape("dq", gradients.dq, in.q);
  CheckShape("dk", gradients.dk, in.k);
  CheckShape("dv", gradients.dv, in.v);
  if (gradients.sinks.size() != in.sinks.size()) {
    Refuse("expected gradients of {} sinks, got {}", in.sinks.size(), gradients.sinks.size());
  }
  const std::pair<const char*, ConstTensor> written[] = {
      {"dq", gradients.dq}, {"dk", gradients.dk}, {"dv", gradients.dv}};
  const std::pair<const char*, ConstTensor> others[] = {
      {"q", in.q},      {"k", in.k}, {"v", in.v}, {"out", forward.out},
      {"d_out", d_out}, written[0],  written[1],  written[2]};
  for (const auto& [name, tensor] : written) {
    for (const auto& [other_name, other] : others) {
      if (std::string_view(name) != other_name) CheckApart(name, tensor, other_name, other);
    }
  }
}

}  // namespace splashmask
