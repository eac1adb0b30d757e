// SPDX-License-Identifier: Apache-2.0
// Attention as custom calls of XLA on the CPU: one head group of one shard, tables as operands.

#include <fmt/format.h>
#include <nanobind/nanobind.h>

#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/parse.h"
#include "splashmask/python/mask_object.h"
#include "xla/ffi/api/ffi.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;
namespace ffi = xla::ffi;

[[noreturn]] void Refuse(const std::string& text) {
  throw Error(ErrorCode::kInvalidArgument, "[jax] expected " + text);
}

void RequireRank(const char* name, const ffi::AnyBuffer& buffer, size_t least, size_t most) {
  const size_t rank = buffer.dimensions().size();
  if (rank < least || rank > most) {
    Refuse(fmt::format("{} of rank {}{}, got {}", name, least,
                       least == most ? "" : fmt::format(" to {}", most), rank));
  }
}

void RequireType(const char* name, const ffi::AnyBuffer& buffer, ffi::DataType type,
                 const char* type_name) {
  if (buffer.element_type() != type) Refuse(fmt::format("{} of {}", name, type_name));
}

FloatType ToFloatType(ffi::DataType type) {
  if (type == ffi::DataType::F32) return FloatType::kFloat32;
  if (type == ffi::DataType::BF16) return FloatType::kBFloat16;
  Refuse("float32 or bfloat16");
}

// [heads, length, dim], or [length, dim] for a k or v that all heads share.
template <typename View, typename Data>
View ToTensor(const ffi::AnyBuffer& buffer, Data* data) {
  RequireRank("q, k, v and what is shaped like them", buffer, 2, 3);
  const auto shape = buffer.dimensions();
  const bool has_heads = shape.size() == 3;
  return View::Contiguous(data, ToFloatType(buffer.element_type()), 1, has_heads ? shape[0] : 1,
                          shape[shape.size() - 2], shape.back());
}
ConstTensor ToTensor(const ffi::AnyBuffer& buffer) {
  return ToTensor<ConstTensor, const void>(buffer, buffer.untyped_data());
}
Tensor ToTensor(ffi::Result<ffi::AnyBuffer> buffer) {
  return ToTensor<Tensor, void>(*buffer, buffer->untyped_data());
}

std::span<float> ToFloats(const char* name, const ffi::AnyBuffer& buffer) {
  RequireType(name, buffer, ffi::DataType::F32, "float32");
  return {static_cast<float*>(buffer.untyped_data()), buffer.element_count()};
}

DType ToDType(ffi::DataType type) {
  switch (type) {
    case ffi::DataType::S8:
      return DType::kInt8;
    case ffi::DataType::S16:
      return DType::kInt16;
    case ffi::DataType::S32:
      return DType::kInt32;
    default:
      Refuse("tables of int8, int16 or int32");
  }
}

Table ToTable(const ffi::AnyBuffer& buffer) {
  RequireRank("tables", buffer, 3, 3);
  const auto shape = buffer.dimensions();
  Table table(ToDType(buffer.element_type()), {shape[0], shape[1], shape[2]});
  std::memcpy(table.data(), buffer.untyped_data(), buffer.size_bytes());
  return table;
}

PartialMaskBlocks ToBlocks(const ffi::AnyBuffer& buffer) {
  RequireRank("partial_mask_blocks", buffer, 3, 3);
  RequireType("partial_mask_blocks", buffer, ffi::DataType::PRED, "bool");
  const auto shape = buffer.dimensions();
  PartialMaskBlocks blocks({shape[0]}, shape[1], shape[2]);
  PackBoolRows(static_cast<const std::byte*>(buffer.untyped_data()), shape[0] * shape[1], shape[2],
               blocks.data());
  return blocks;
}

Array ToPositions(const ffi::AnyBuffer& buffer) {
  const size_t bytes = buffer.size_bytes();
  auto copy = std::make_shared<std::vector<std::byte>>(bytes);
  std::memcpy(copy->data(), buffer.untyped_data(), bytes);
  return {ToDType(buffer.element_type()),
          {static_cast<int64_t>(buffer.element_count())},
          std::shared_ptr<const void>(copy, copy->data())};
}

// The operands behind those that are always there, in the order in which Python puts them.
class Operands {
 public:
  explicit Operands(const ffi::RemainingArgs& operands) : operands_(operands) {}

  ffi::AnyBuffer Next() {
    auto buffer = operands_.get<ffi::AnyBuffer>(next_++);
    if (!buffer) Refuse("another operand");
    return *buffer;
  }

 private:
  const ffi::RemainingArgs& operands_;
  size_t next_ = 0;
};

// What a pass's tables consist of; the same bits in jax_cpu.py.
enum : int64_t { kHasMaskNext = 1, kHasBlocks = 2, kHasPositions = 4 };
// What a call consists of.
enum : int64_t { kHasSegmentIds = 1, kHasSinks = 2 };

CompiledPass ReadPass(Operands& operands, int64_t has, BlockShape block,
                      const std::optional<Mask>& mask_function) {
  CompiledPass pass;
  pass.block = block;
  pass.info.data_next = ToTable(operands.Next());
  pass.info.block_mask = ToTable(operands.Next());
  if (has & kHasMaskNext) pass.info.mask_next = ToTable(operands.Next());
  if (has & kHasBlocks) pass.info.partial_mask_blocks = ToBlocks(operands.Next());
  if (has & kHasPositions) pass.info.q_sequence = ToPositions(operands.Next());
  pass.mask_function = mask_function;
  return pass;
}

AttentionInputs ReadInputs(const ffi::AnyBuffer& q, const ffi::AnyBuffer& k,
                           const ffi::AnyBuffer& v, Operands& operands, int64_t has) {
  AttentionInputs inputs{ToTensor(q), ToTensor(k), ToTensor(v), {}, {}};
  const auto ids = [&] {
    const ffi::AnyBuffer buffer = operands.Next();
    RequireType("segment ids", buffer, ffi::DataType::S32, "int32");
    return std::span(static_cast<const int32_t*>(buffer.untyped_data()), buffer.element_count());
  };
  if (has & kHasSegmentIds) {
    const auto of_q = ids(), of_kv = ids();
    inputs.segment_ids = AttentionSegmentIds{of_q, of_kv};
  }
  if (has & kHasSinks) {
    inputs.sinks = ToFloats("sinks", operands.Next());
  }
  return inputs;
}

// Attention obeys tables, whatever the mask.
Plan EmptyPlan(const AttentionInputs& inputs) {
  const Mask any = Mask::Full({inputs.q.length, inputs.k.length});
  return {MultiHeadMask(any, inputs.q.heads), {}, {}, {}, {}};
}

std::optional<Mask> ReadFunction(std::string_view text, const AttentionInputs& inputs) {
  if (text.empty()) return std::nullopt;
  return ParseMask(text, {inputs.q.length, inputs.k.length});
}

AttentionOptions ReadOptions(float soft_cap) {
  AttentionOptions options;
  if (soft_cap != 0) options.attn_logits_soft_cap = soft_cap;
  return options;
}

template <typename Work>
ffi::Error Guarded(const Work& work) {
  try {
    work();
    return ffi::Error::Success();
  } catch (const Error& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

ffi::Error Forward(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::RemainingArgs rest,
                   ffi::Result<ffi::AnyBuffer> out, ffi::Result<ffi::AnyBuffer> logsumexp,
                   int64_t has, int64_t fwd_has, int64_t block_q, int64_t block_kv, float soft_cap,
                   std::string_view mask_function) {
  return Guarded([&] {
    Operands operands(rest);
    const AttentionInputs inputs = ReadInputs(q, k, v, operands, has);
    Plan plan = EmptyPlan(inputs);
    plan.fwd =
        ReadPass(operands, fwd_has, {block_q, block_kv}, ReadFunction(mask_function, inputs));
    if (logsumexp->element_count() == 0) Refuse("logsumexp of every row");
    SplashAttention(std::move(plan), ReadOptions(soft_cap))
        .Forward(inputs, ToTensor(out), ToFloats("logsumexp", *logsumexp));
  });
}

ffi::Error Backward(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::AnyBuffer out,
                    ffi::AnyBuffer logsumexp, ffi::AnyBuffer d_out, ffi::RemainingArgs rest,
                    ffi::Result<ffi::AnyBuffer> dq, ffi::Result<ffi::AnyBuffer> dk,
                    ffi::Result<ffi::AnyBuffer> dv, int64_t has, int64_t dkv_has, int64_t dq_has,
                    int64_t block_q_dkv, int64_t block_kv_dkv, int64_t block_q_dq,
                    int64_t block_kv_dq, float soft_cap, std::string_view mask_function) {
  return Guarded([&] {
    Operands operands(rest);
    const AttentionInputs inputs = ReadInputs(q, k, v, operands, has);
    const std::optional<Mask> function = ReadFunction(mask_function, inputs);
    Plan plan = EmptyPlan(inputs);
    plan.dkv = ReadPass(operands, dkv_has, {block_q_dkv, block_kv_dkv}, function);
    plan.options.use_fused_bwd_kernel = block_q_dq == 0;
    if (block_q_dq != 0) {
      plan.dq = ReadPass(operands, dq_has, {block_q_dq, block_kv_dq}, function);
    }
    SplashAttention(std::move(plan), ReadOptions(soft_cap))
        .Backward(inputs, {ToTensor(out), ToFloats("logsumexp", logsumexp)}, ToTensor(d_out),
                  {ToTensor(dq), ToTensor(dk), ToTensor(dv), {}});
  });
}

XLA_FFI_DEFINE_HANDLER(kForward, Forward,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<int64_t>("has")
                           .Attr<int64_t>("fwd_has")
                           .Attr<int64_t>("block_q")
                           .Attr<int64_t>("block_kv")
                           .Attr<float>("soft_cap")
                           .Attr<std::string_view>("mask_function"));

XLA_FFI_DEFINE_HANDLER(kBackward, Backward,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<int64_t>("has")
                           .Attr<int64_t>("dkv_has")
                           .Attr<int64_t>("dq_has")
                           .Attr<int64_t>("block_q_dkv")
                           .Attr<int64_t>("block_kv_dkv")
                           .Attr<int64_t>("block_q_dq")
                           .Attr<int64_t>("block_kv_dq")
                           .Attr<float>("soft_cap")
                           .Attr<std::string_view>("mask_function"));

}  // namespace

void BindFfiHandlers(nb::module_& m) {
  m.def(
      "ffi_targets",
      [] {
        nb::dict targets;
        targets["splashmask_forward"] = nb::capsule(reinterpret_cast<void*>(kForward));
        targets["splashmask_backward"] = nb::capsule(reinterpret_cast<void*>(kBackward));
        return targets;
      },
      "Custom calls of XLA by name, for jax.ffi.register_ffi_target.");
}

}  // namespace splashmask::python
