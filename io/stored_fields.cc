// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/stored_fields.h"

#include "splashmask/masks/print.h"

namespace splashmask {

namespace {

std::span<const std::byte> Bytes(const std::byte* data, int64_t size) {
  return {data, static_cast<size_t>(size)};
}

StoredField FieldOf(const char* name, const Table& table) {
  const std::vector<int64_t> shape(table.shape().begin(), table.shape().end());
  return {.name = name,
          .dtype = std::string(DTypeName(table.dtype())),
          .shape = shape,
          .stored_dtype = table.dtype(),
          .stored_shape = shape,
          .table = Bytes(table.data(), table.size_bytes()),
          .text = {}};
}

StoredField FieldOf(const PartialMaskBlocks& blocks) {
  std::vector<int64_t> shape = blocks.leading();
  shape.insert(shape.end(), {blocks.rows(), blocks.columns()});
  return {.name = kPartialMaskBlocks,
          .dtype = "bool",
          .shape = shape,
          .stored_dtype = DType::kUInt8,
          .stored_shape = PackedShape(shape),
          .table = Bytes(blocks.data(), blocks.size_bytes()),
          .text = {}};
}

StoredField FieldOf(const char* name, const Array& array) {
  return {.name = name,
          .dtype = std::string(DTypeName(array.dtype())),
          .shape = array.shape(),
          .stored_dtype = array.dtype(),
          .stored_shape = array.shape(),
          .table = Bytes(array.data(), array.size_bytes()),
          .text = {}};
}

StoredField FieldOf(const Mask& mask_function) {
  std::string text = CanonicalText(mask_function);
  const std::vector<int64_t> shape{static_cast<int64_t>(text.size())};
  return {.name = kMaskFunction,
          .dtype = "utf8",
          .shape = shape,
          .stored_dtype = DType::kUInt8,
          .stored_shape = shape,
          .table = {},
          .text = std::move(text)};
}

}  // namespace

std::vector<int64_t> PackedShape(std::vector<int64_t> shape) {
  if (!shape.empty()) shape.back() = (shape.back() + 7) / 8;
  return shape;
}

void ForEachField(const CompiledPass& pass, const std::function<void(const StoredField&)>& visit) {
  const MaskInfo& info = pass.info;
  if (info.data_next) visit(FieldOf(kDataNext, *info.data_next));
  if (info.mask_next) visit(FieldOf(kMaskNext, *info.mask_next));
  if (info.block_mask) visit(FieldOf(kBlockMask, *info.block_mask));
  if (info.partial_mask_blocks) visit(FieldOf(*info.partial_mask_blocks));
  if (info.q_sequence) visit(FieldOf(kQSequence, *info.q_sequence));
  if (pass.mask_function) visit(FieldOf(*pass.mask_function));
}

void ForEachField(const TokamaxPass& pass, const std::function<void(const StoredField&)>& visit) {
  const TokamaxMaskInfo& info = pass.info;
  if (info.mask_next) visit(FieldOf(kMaskNext, *info.mask_next));
  if (info.active_rows) visit(FieldOf(kActiveRows, *info.active_rows));
  if (info.active_cols) visit(FieldOf(kActiveCols, *info.active_cols));
  if (info.block_mask) visit(FieldOf(kBlockMask, *info.block_mask));
  if (info.num_active_blocks) visit(FieldOf(kNumActiveBlocks, *info.num_active_blocks));
  if (info.partial_mask_blocks) visit(FieldOf(*info.partial_mask_blocks));
  if (info.q_sequence) visit(FieldOf(kQSequence, *info.q_sequence));
  if (pass.mask_function) visit(FieldOf(*pass.mask_function));
}

}  // namespace splashmask
