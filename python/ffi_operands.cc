// SPDX-License-Identifier: Apache-2.0
#include "splashmask/python/ffi_operands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/python/mask_object.h"

namespace splashmask::python {

namespace {

DType ToDType(const Operand& operand) {
  switch (operand.type()) {
    case ffi::DataType::S8:
      return DType::kInt8;
    case ffi::DataType::S16:
      return DType::kInt16;
    case ffi::DataType::S32:
      return DType::kInt32;
    default:
      RefuseOperand(fmt::format("{} of int8, int16 or int32", operand.name()));
  }
}

const std::byte* Bytes(const Operand& operand, BatchIndex index) {
  return operand.data<const std::byte>({}) + operand.Offset(index) * DTypeSize(ToDType(operand));
}

Table ToTable(const Operand& operand, BatchIndex index) {
  const auto shape = operand.shape();
  Table table(ToDType(operand), {shape[0], shape[1], shape[2]});
  std::memcpy(table.data(), Bytes(operand, index), static_cast<size_t>(table.size_bytes()));
  return table;
}

PartialMaskBlocks ToBlocks(const Operand& operand, BatchIndex index) {
  operand.RequireType(ffi::DataType::PRED, "bool");
  const auto shape = operand.shape();
  PartialMaskBlocks blocks({shape[0]}, shape[1], shape[2]);
  PackBoolRows(operand.data<const std::byte>(index), shape[0] * shape[1], shape[2], blocks.data());
  return blocks;
}

Array ToPositions(const Operand& operand, BatchIndex index) {
  const auto bytes = static_cast<size_t>(operand.size() * DTypeSize(ToDType(operand)));
  auto copy = std::make_shared<std::vector<std::byte>>(bytes);
  std::memcpy(copy->data(), Bytes(operand, index), bytes);
  return {ToDType(operand), {operand.size()}, std::shared_ptr<const void>(copy, copy->data())};
}

FloatType ToFloatType(const Operand& operand) {
  if (operand.type() == ffi::DataType::F32) return FloatType::kFloat32;
  if (operand.type() == ffi::DataType::BF16) return FloatType::kBFloat16;
  RefuseOperand(fmt::format("{} of float32 or bfloat16", operand.name()));
}

template <typename View, typename Data>
View ViewOf(const Operand& operand, BatchIndex index, int64_t batch) {
  using Bytes = std::conditional_t<std::is_const_v<Data>, const std::byte, std::byte>;
  const FloatType type = ToFloatType(operand);
  const auto shape = operand.shape();
  View view = View::Contiguous(operand.data<Bytes>({}) + operand.Offset(index) * FloatSize(type),
                               type, batch, shape[0], shape[1], shape[2]);
  view.strides.batch = operand.BatchStride();
  return view;
}

int64_t Product(std::span<const int64_t> dimensions) {
  return std::accumulate(dimensions.begin(), dimensions.end(), int64_t{1}, std::multiplies());
}

}  // namespace

void RefuseOperand(const std::string& text) {
  throw Error(ErrorCode::kInvalidArgument, "[jax] expected " + text);
}

Operand::Operand(const char* name, const ffi::AnyBuffer& buffer, size_t rank)
    : name_(name),
      buffer_(buffer),
      leading_(static_cast<ptrdiff_t>(buffer.dimensions().size()) - static_cast<ptrdiff_t>(rank)) {
  if (leading_ >= 0) return;
  RefuseOperand(fmt::format("{} of rank {}, got {}", name, rank, buffer.dimensions().size()));
}

void Operand::RequireType(ffi::DataType type, const char* type_name) const {
  if (buffer_.element_type() != type) RefuseOperand(fmt::format("{} of {}", name_, type_name));
}

void Operand::RequireAxes(std::span<const int64_t> of_call, bool may_be_shared) const {
  const auto own = leading();
  bool fits = own.size() == of_call.size();
  for (size_t axis = 0; fits && axis < own.size(); ++axis) {
    fits = own[axis] == of_call[axis] || (may_be_shared && own[axis] == 1);
  }
  if (!fits) {
    RefuseOperand(
        fmt::format("{} with axes in front that broadcast to those of the results, [{}], got [{}]",
                    name_, fmt::join(of_call, ", "), fmt::join(own, ", ")));
  }
}

int64_t Operand::size() const { return Product(shape()); }

int64_t Operand::Offset(BatchIndex index) const {
  int64_t offset = 0;
  const auto lengths = leading();
  for (size_t axis = 0; axis < lengths.size(); ++axis) {
    const bool is_shared = lengths[axis] == 1 || axis >= index.size();
    offset = offset * lengths[axis] + (is_shared ? 0 : index[axis]);
  }
  return offset * size();
}

int64_t Operand::BatchStride() const {
  return leading().empty() || leading().back() == 1 ? 0 : size();
}

Operand RemainingOperands::Next(const char* name, size_t rank) {
  auto buffer = operands_.get<ffi::AnyBuffer>(next_++);
  if (!buffer) RefuseOperand(fmt::format("{}, got no more operands", name));
  return {name, *buffer, rank};
}

PassOperands::PassOperands(RemainingOperands& operands, int64_t has, BlockShape block)
    : block_(block),
      data_next_(operands.Next("data_next", 3)),
      block_mask_(operands.Next("block_mask", 3)) {
  if (has & kHasMaskNext) mask_next_ = operands.Next("mask_next", 3);
  if (has & kHasBlocks) blocks_ = operands.Next("partial_mask_blocks", 3);
  if (has & kHasPositions) positions_ = operands.Next("q_sequence", 1);
}

CompiledPass PassOperands::Read(BatchIndex index, const std::optional<Mask>& mask_function) const {
  CompiledPass pass;
  pass.block = block_;
  pass.info.data_next = ToTable(data_next_, index);
  pass.info.block_mask = ToTable(block_mask_, index);
  if (mask_next_) pass.info.mask_next = ToTable(*mask_next_, index);
  if (blocks_) pass.info.partial_mask_blocks = ToBlocks(*blocks_, index);
  if (positions_) pass.info.q_sequence = ToPositions(*positions_, index);
  pass.mask_function = mask_function;
  return pass;
}

std::vector<const Operand*> PassOperands::all() const {
  std::vector<const Operand*> operands{&data_next_, &block_mask_};
  for (const auto* one : {&mask_next_, &blocks_, &positions_}) {
    if (*one) operands.push_back(&**one);
  }
  return operands;
}

ConstTensor ToTensor(const Operand& operand, BatchIndex index, int64_t batch) {
  return ViewOf<ConstTensor, const void>(operand, index, batch);
}

Tensor ToOutput(const Operand& operand, BatchIndex index, int64_t batch) {
  return ViewOf<Tensor, void>(operand, index, batch);
}

}  // namespace splashmask::python
