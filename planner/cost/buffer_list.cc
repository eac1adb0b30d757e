// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/buffer_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/tiles.h"
#include "splashmask/planner/cost/tpu_layout.h"

namespace splashmask {

namespace {

constexpr int64_t kPointerBytes = 4, kScalarBytes = 512, kScalarWithoutLayoutBytes = 4 << 10;
constexpr int64_t kMostBytes = int64_t{1} << 56;

std::string_view TableName(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return "s8";
    case DType::kInt16:
      return "s16";
    default:
      return "s32";
  }
}

// In a copy, bytes of few columns have no tiles of 32 rows.
XlaShape CopyOf(XlaShape operand) {
  constexpr int64_t kFewColumns = 16;
  int64_t& rows = operand.layout->tiles[0][0];
  if (operand.dtype == "s8" && operand.dims.back() < kFewColumns) rows = std::min(rows, kSublanes);
  return operand;
}

}  // namespace

std::string_view XlaName(OperandDType dtype) {
  return dtype == OperandDType::kBFloat16 ? "bf16" : "f32";
}

BufferList::BufferList(const ProgramCall& call) : call_(call) {
  if (call.options.faster_memory) faster_bytes_left_ = call.options.faster_memory->bytes;
}

BufferList::Dims BufferList::Batched(Dims dims) const {
  if (config().batch > 1) dims.insert(dims.begin(), config().batch);
  return dims;
}

BufferList::Dims BufferList::QueryDims(int64_t head_dim) const {
  return Batched({config().heads, config().q_len, head_dim});
}

BufferList::Dims BufferList::KeyDims(int64_t head_dim) const {
  const bool is_mqa = config().kv_heads == 1 && config().heads > 1;
  return Batched(is_mqa ? Dims{config().kv_len, head_dim}
                        : Dims{config().kv_heads, config().kv_len, head_dim});
}

void BufferList::Add(std::string name, BufferKind kind, XlaShape shape, int64_t bytes) {
  result_.buffers.push_back({std::move(name), kind, std::move(shape), bytes});
}

void BufferList::Add(std::string name, BufferKind kind, XlaShape shape) {
  const std::optional<int64_t> bytes = TiledBytes(shape);
  if (!bytes || *bytes >= kMostBytes) {  // So that sums stay within 64 bits.
    throw Error(
        ErrorCode::kTooLarge,
        fmt::format("[plan] expected buffers of less than 2^56 bytes, got more for {}", name));
  }
  Add(std::move(name), kind, std::move(shape), *bytes);
}

void BufferList::AddPointers(std::string name, BufferKind kind, std::vector<XlaShape> elements) {
  const auto count = static_cast<int64_t>(elements.size());
  Add(std::move(name), kind, TupleShape(std::move(elements)),
      RoundedUp(kPointerBytes * count, chip().hbm_granule_bytes));
}

BufferList::Temporary BufferList::AddTemporary(std::string name, XlaShape shape, Lifetime lifetime,
                                               std::optional<size_t> made_from) {
  const std::optional<FasterMemory>& faster = call_.options.faster_memory;
  const int64_t bytes = TiledBytes(shape).value_or(0);
  // Scratch is the kernel's own.
  if (faster && lifetime != Lifetime::kScratch && bytes <= faster_bytes_left_) {
    shape.layout->memory_space = faster->space;
    faster_bytes_left_ -= bytes;
  }
  Add(std::move(name), BufferKind::kTemporary, shape);
  if (shape.layout->memory_space != 0) return {std::move(shape)};
  in_hbm_.push_back({bytes, lifetime, made_from});
  return {std::move(shape), in_hbm_.size() - 1};
}

void BufferList::AddArgument(const std::string& name, const XlaShape& operand) {
  const XlaShape argument = CompactShape(operand.dtype, operand.dims);
  Add(name, BufferKind::kArgument, argument);
  if (argument.layout != operand.layout) AddTemporary(name + " for the kernel", CopyOf(operand));
}

void BufferList::AddSequenceArgument(const std::string& name, Dims dims, QkvLayout layout) {
  XlaShape operand = RowMajorShape(XlaName(config().dtype), std::move(dims));
  if (layout == QkvLayout::kSeqMinor) {
    Dims order = operand.layout->minor_to_major;
    std::swap(order[0], order[1]);
    operand = TiledShape(operand.dtype, operand.dims, std::move(order));
  }
  AddArgument(name, operand);
}

void BufferList::AddInputs() {
  const BlockSizes& sizes = config().block_sizes;
  AddSequenceArgument("q", QueryDims(config().head_dim), sizes.q_layout);
  AddSequenceArgument("k", KeyDims(config().head_dim), sizes.k_layout);
  AddSequenceArgument("v", KeyDims(config().head_dim_v), sizes.v_layout);
  if (config().segments) AddSegmentIds();
}

XlaShape BufferList::RepeatedShape(Dims batched_length, bool is_in_lanes) const {
  const auto last = batched_length.end();
  if (is_in_lanes) {
    batched_length.insert(last - 1, kSublanes);
  } else {
    batched_length.insert(last, kLanes);
  }
  return RowMajorShape("s32", std::move(batched_length));
}

void BufferList::AddSegmentIds() {
  const Dims q = Batched({config().q_len}), kv = Batched({config().kv_len});
  Add("q segment ids", BufferKind::kArgument, CompactShape("s32", q));
  Add("kv segment ids", BufferKind::kArgument, CompactShape("s32", kv));
  AddTemporary("q segment ids, broadcast", RepeatedShape(q, q_is_in_lanes()));
  AddTemporary("kv segment ids, broadcast", RepeatedShape(kv, !q_is_in_lanes()));
}

// XLA copies a single sink first, in HBM. Where the broadcast lies in faster memory, what the
// kernel writes takes the place of the copy.
void BufferList::AddSinks() {
  if (!config().sinks) return;
  const XlaShape sinks = CompactShape("f32", {config().heads});
  Add("sinks", BufferKind::kArgument, sinks);
  std::optional<size_t> copy;
  if (config().heads == 1 && call_.options.faster_memory) {
    Add("sinks once more", BufferKind::kTemporary, sinks);
  } else if (config().heads == 1) {
    copy = AddTemporary("sinks once more", sinks).index;
  }
  AddTemporary("sinks, broadcast", RowMajorShape("f32", {kSublanes, config().heads}),
               Lifetime::kOperand, copy);
}

void BufferList::AddTables() {
  const size_t first = result_.buffers.size();
  const PassTables& tables = call_.tables.tables;
  const std::array<std::pair<const char*, const std::optional<TableOperand>*>, 3> operands{
      {{"data_next", &tables.data_next},
       {"block_mask", &tables.block_mask},
       {"mask_next", &tables.mask_next}}};
  for (size_t i = 0; i < operands.size(); ++i) {
    if (*operands[i].second) AddTable(operands[i].first, i, **operands[i].second);
  }
  if (tables.partial_blocks > 0) AddPartialBlocks(tables.partial_blocks);
  if (tables.has_q_sequence) AddPositions();
  for (size_t i = first; i < result_.buffers.size(); ++i) {
    result_.buffers[i].is_table = result_.buffers[i].kind != BufferKind::kTemporary;
  }
}

void BufferList::AddTable(const char* name, size_t index, const TableOperand& table) {
  const XlaShape operand =
      RowMajorShape(TableName(table.dtype), Dims(table.shape.begin(), table.shape.end()));
  if (call_.options.tables_are_arguments) return AddArgument(name, operand);
  if (call_.tables.first_equal[index] != index) return;
  if (!call_.tables.is_repeated[index]) return Add(name, BufferKind::kConstant, operand);
  Add(fmt::format("value of {}", name), BufferKind::kConstant, RowMajorShape(operand.dtype, {}));
  AddTemporary(name, operand, Lifetime::kLateOperand);
}

// The kernel reads bools as int32.
void BufferList::AddPartialBlocks(int64_t count) {
  Dims dims{count, blocks().q, blocks().kv};
  if (q_is_in_lanes()) std::swap(dims[1], dims[2]);
  const char* const name = "partial_mask_blocks";
  if (!call_.options.tables_are_arguments) {
    return Add(name, BufferKind::kConstant, RowMajorShape("s32", dims));
  }
  const XlaShape argument = CompactShape("pred", dims);
  const XlaShape operand = RowMajorShape("s32", dims);
  Add(name, BufferKind::kArgument, argument);
  std::optional<size_t> converted;
  if (argument.layout->minor_to_major != operand.layout->minor_to_major) {
    converted = AddTemporary("partial_mask_blocks, int32",
                             TiledShape("s32", dims, argument.layout->minor_to_major))
                    .index;
  }
  AddTemporary("partial_mask_blocks for the kernel", operand, Lifetime::kOperand, converted);
}

void BufferList::AddPositions() {
  using Kind = LiteralTables::Positions;
  const char* const name = "q_sequence";
  if (call_.options.tables_are_arguments) {
    Add(name, BufferKind::kArgument, CompactShape("s32", {config().q_len}));
  } else if (call_.tables.positions == Kind::kRepeated) {
    Add("value of q_sequence", BufferKind::kConstant, RowMajorShape("s32", {}));
  } else if (call_.tables.positions == Kind::kOther) {
    Add(name, BufferKind::kConstant, RowMajorShape("s32", {config().q_len}));
  }
  AddTemporary("q_sequence, broadcast", RepeatedShape({config().q_len}, q_is_in_lanes()));
}

void BufferList::AddScratch(std::string name, Dims dims) {
  results_.push_back(RowMajorShape("f32", Batched(std::move(dims))));
  AddTemporary(std::move(name), results_.back(), Lifetime::kScratch);
}

void BufferList::AddResult(const std::string& name, Dims dims) {
  XlaShape written = RowMajorShape(XlaName(config().dtype), dims);
  const XlaShape output = CompactShape(written.dtype, std::move(dims));
  Add(name, BufferKind::kOutput, output);
  AddReturned(output);
  if (written.layout != output.layout) {
    written = AddTemporary(name + " of the kernel", std::move(written), Lifetime::kResult).shape;
  }
  AddKernelResult(std::move(written));
}

void BufferList::AddSummands(std::string_view dtype) {
  AddThreadLocals(RowMajorShape(dtype, {}), kScalarBytes);
}

void BufferList::AddSummandsWithoutLayout() {
  XlaShape scalar;
  scalar.dtype = "f32";
  AddThreadLocals(scalar, kScalarWithoutLayoutBytes);
}

void BufferList::AddThreadLocals(const XlaShape& scalar, int64_t bytes) {
  for (const char* name : {"a summand", "another summand", "their sum"}) {
    Add(name, BufferKind::kThreadLocal, scalar, bytes);
  }
}

ProgramBuffers BufferList::Finish(bool has_reduction) {
  AddPointers("pointers to results", BufferKind::kTemporary, std::move(results_));
  const int64_t pointers = result_.buffers.back().bytes;
  if (returned_.size() > 1) {
    AddPointers("pointers to outputs", BufferKind::kOutput, std::move(returned_));
  }
  std::stable_sort(result_.buffers.begin(), result_.buffers.end(),
                   [](const auto& a, const auto& b) { return a.kind < b.kind; });
  const int64_t packed = PackedBytes(in_hbm_);
  result_.temporary_bytes = has_reduction ? RoundedUp(packed, kTemporaryAlignment) + pointers
                                          : RoundedUp(pointers, kTemporaryAlignment) + packed;
  result_.temporary_bytes +=
      call_.options.prefetch_tables * RoundedUp(chip().hbm_granule_bytes, kTemporaryAlignment);
  return std::move(result_);
}

}  // namespace splashmask
