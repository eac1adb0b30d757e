// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/hbm_buffers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/tiles.h"
#include "splashmask/planner/cost/tpu_layout.h"

namespace splashmask {

namespace {

using Dims = std::vector<int64_t>;

constexpr int64_t kKernelLanes = 128;  // NUM_LANES and NUM_SUBLANES of JAX's kernel.
constexpr int64_t kKernelSublanes = 8;
constexpr int64_t kTemporaryAlignment = 16 << 10;
constexpr int64_t kThreadLocalBytes = 4 << 10;
constexpr int64_t kPointerBytes = 4;
constexpr int64_t kMostBytes = int64_t{1} << 56;
constexpr int64_t kCmemBytes = 128 << 20;  // Of v4.
constexpr int64_t kCmemSpace = 3;

std::string_view XlaName(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return "s8";
    case DType::kInt16:
      return "s16";
    default:
      return "s32";
  }
}

std::string_view XlaName(OperandDType dtype) {
  return dtype == OperandDType::kBFloat16 ? "bf16" : "f32";
}

// Collects the buffers of one program.
class BufferList {
 public:
  BufferList(const AttentionConfig& config, const LiteralTables& tables, const TpuSpec& chip,
             const ProgramOptions& options)
      : config_(config), tables_(tables), chip_(chip), options_(options) {
    if (options.faster_memory) faster_bytes_left_ = options.faster_memory->bytes;
  }

  ProgramBuffers Build() {
    AddOperands();
    AddTables();
    AddResults();
    std::stable_sort(result_.buffers.begin(), result_.buffers.end(),
                     [](const auto& a, const auto& b) { return a.kind < b.kind; });
    AddTemporaryBytes();
    return std::move(result_);
  }

 private:
  // A batch is vmapped: it is the first axis of whatever differs between its sequences.
  Dims Batched(Dims dims) const {
    if (config_.batch > 1) dims.insert(dims.begin(), config_.batch);
    return dims;
  }
  Dims KeyDims(int64_t head_dim) const {
    const bool is_mqa = config_.kv_heads == 1 && config_.heads > 1;
    return Batched(is_mqa ? Dims{config_.kv_len, head_dim}
                          : Dims{config_.kv_heads, config_.kv_len, head_dim});
  }

  void Add(std::string name, BufferKind kind, XlaShape shape, int64_t bytes) {
    result_.buffers.push_back({std::move(name), kind, std::move(shape), bytes, false});
  }
  void Add(std::string name, BufferKind kind, XlaShape shape) {
    const std::optional<int64_t> bytes = TiledBytes(shape);
    if (!bytes || *bytes >= kMostBytes) {  // So that sums stay within 64 bits.
      throw Error(
          ErrorCode::kTooLarge,
          fmt::format("[plan] expected buffers of less than 2^56 bytes, got more for {}", name));
    }
    Add(std::move(name), kind, std::move(shape), *bytes);
  }
  void AddPointers(std::string name, BufferKind kind, std::vector<XlaShape> elements) {
    const auto count = static_cast<int64_t>(elements.size());
    Add(std::move(name), kind, TupleShape(std::move(elements)),
        RoundedUp(kPointerBytes * count, chip_.hbm_granule_bytes));
  }
  // An array that an instruction other than the kernel reads or writes: it goes to faster memory as
  // long as there is some. Returns where it is.
  XlaShape AddTemporary(std::string name, XlaShape shape) {
    const int64_t bytes = TiledBytes(shape).value_or(0);
    if (options_.faster_memory && bytes <= faster_bytes_left_) {
      shape.layout->memory_space = options_.faster_memory->space;
      faster_bytes_left_ -= bytes;
    }
    Add(std::move(name), BufferKind::kTemporary, shape);
    return shape;
  }

  // An argument of the program which the kernel wants in the layout of `operand`.
  void AddArgument(const std::string& name, const XlaShape& operand) {
    const XlaShape argument = CompactShape(operand.dtype, operand.dims);
    Add(name, BufferKind::kArgument, argument);
    if (argument.layout != operand.layout) AddTemporary(name + " for the kernel", operand);
  }

  void AddSequenceArgument(const std::string& name, Dims dims, QkvLayout layout) {
    XlaShape operand = RowMajorShape(XlaName(config_.dtype), std::move(dims));
    if (layout == QkvLayout::kSeqMinor) {
      Dims order = operand.layout->minor_to_major;
      std::swap(order[0], order[1]);
      operand = TiledShape(operand.dtype, operand.dims, std::move(order));
    }
    AddArgument(name, operand);
  }

  void AddOperands() {
    const BlockSizes& sizes = config_.block_sizes;
    AddSequenceArgument("q", Batched({config_.heads, config_.q_len, config_.head_dim}),
                        sizes.q_layout);
    AddSequenceArgument("k", KeyDims(config_.head_dim), sizes.k_layout);
    AddSequenceArgument("v", KeyDims(config_.head_dim_v), sizes.v_layout);
    if (config_.segments) {
      Add("q segment ids", BufferKind::kArgument, CompactShape("s32", Batched({config_.q_len})));
      Add("kv segment ids", BufferKind::kArgument, CompactShape("s32", Batched({config_.kv_len})));
      AddTemporary("q segment ids, broadcast",
                   RowMajorShape("s32", Batched({config_.q_len, kKernelLanes})));
      AddTemporary("kv segment ids, broadcast",
                   RowMajorShape("s32", Batched({kKernelSublanes, config_.kv_len})));
    }
    if (config_.sinks) {
      const XlaShape sinks = CompactShape("f32", {config_.heads});
      Add("sinks", BufferKind::kArgument, sinks);
      if (config_.heads == 1) AddCopyOfSink(sinks);
      AddTemporary("sinks, broadcast", RowMajorShape("f32", {kKernelSublanes, config_.heads}));
    }
  }

  // XLA copies a single sink first, in HBM. Where the broadcast lies in faster memory, m takes the
  // place of the copy; else a small table may, which is written later.
  void AddCopyOfSink(const XlaShape& sinks) {
    Add("sinks once more", BufferKind::kTemporary, sinks);
    ProgramBuffer& copy = result_.buffers.back();
    copy.shares_bytes = options_.faster_memory.has_value();
    if (!options_.faster_memory) freed_bytes_ = copy.bytes;
  }

  void AddTables() {
    const PassTables& tables = tables_.tables;
    const std::array<std::pair<const char*, const std::optional<TableOperand>*>, 3> operands{
        {{"data_next", &tables.data_next},
         {"block_mask", &tables.block_mask},
         {"mask_next", &tables.mask_next}}};
    for (size_t i = 0; i < operands.size(); ++i) {
      if (*operands[i].second) AddTable(operands[i].first, i, **operands[i].second);
    }
    if (tables.partial_blocks > 0) AddPartialBlocks(tables.partial_blocks);
    if (tables.has_q_sequence) AddPositions();
  }

  void AddTable(const char* name, size_t index, const TableOperand& table) {
    const XlaShape operand =
        RowMajorShape(XlaName(table.dtype), Dims(table.shape.begin(), table.shape.end()));
    if (options_.tables_are_arguments) return AddArgument(name, operand);
    if (tables_.first_equal[index] != index) return;
    if (!tables_.is_repeated[index]) return Add(name, BufferKind::kConstant, operand);
    Add(fmt::format("value of {}", name), BufferKind::kConstant, RowMajorShape(operand.dtype, {}));
    AddTemporary(name, operand);
    ProgramBuffer& written = result_.buffers.back();
    written.shares_bytes = written.bytes <= freed_bytes_;
    if (written.shares_bytes) freed_bytes_ = 0;
  }

  // The kernel reads bools as int32.
  void AddPartialBlocks(int64_t count) {
    const Dims dims{count, config_.block_sizes.block_q, config_.block_sizes.block_kv};
    const char* const name = "partial_mask_blocks";
    if (!options_.tables_are_arguments) {
      return Add(name, BufferKind::kConstant, RowMajorShape("s32", dims));
    }
    Add(name, BufferKind::kArgument, CompactShape("pred", dims));
    AddTemporary("partial_mask_blocks, int32", RowMajorShape("s32", dims));
  }

  void AddPositions() {
    using Positions = LiteralTables::Positions;
    const char* const name = "q_sequence";
    if (options_.tables_are_arguments) {
      Add(name, BufferKind::kArgument, CompactShape("s32", {config_.q_len}));
    } else if (tables_.positions == Positions::kRepeated) {
      Add("value of q_sequence", BufferKind::kConstant, RowMajorShape("s32", {}));
    } else if (tables_.positions == Positions::kOther) {
      Add(name, BufferKind::kConstant, RowMajorShape("s32", {config_.q_len}));
    }
    AddTemporary("q_sequence, broadcast", RowMajorShape("s32", {config_.q_len, kKernelLanes}));
  }

  void AddResults() {
    const int64_t block_q = config_.block_sizes.block_q;
    std::vector<XlaShape> results;
    for (const auto& [name, width] :
         {std::pair("m", kKernelLanes), {"l", kKernelLanes}, {"accumulator", config_.head_dim_v}}) {
      results.push_back(RowMajorShape("f32", Batched({block_q, width})));
      Add(fmt::format("{} of a block", name), BufferKind::kTemporary, results.back());
    }
    results.push_back(AddOut());
    if (options_.residuals) results.push_back(AddLogsumexp());
    AddPointers("pointers to results", BufferKind::kTemporary, std::move(results));
  }

  XlaShape AddOut() {
    const Dims dims = Batched({config_.heads, config_.q_len, config_.head_dim_v});
    const XlaShape written = RowMajorShape(XlaName(config_.dtype), dims);
    out_ = CompactShape(written.dtype, dims);
    Add("out", BufferKind::kOutput, out_);
    return written.layout == out_.layout ? out_ : AddTemporary("out of the kernel", written);
  }

  // The kernel writes it in every lane, of which one is the output.
  XlaShape AddLogsumexp() {
    const Dims dims = Batched({config_.heads, config_.q_len});
    const XlaShape logsumexp = CompactShape("f32", dims);
    if (logsumexp == RowMajorShape("f32", dims)) {
      AddSum(logsumexp);
    } else {
      AddSlice(logsumexp);
    }
    AddPointers("pointers to outputs", BufferKind::kOutput, {out_, logsumexp});
    Dims written = dims;
    written.push_back(kKernelLanes);
    return AddTemporary("logsumexp of the kernel", RowMajorShape("f32", std::move(written)));
  }

  // A slice keeps the axis of lanes, with one of them: beside that of positions, unless tiles would
  // have to hold it.
  void AddSlice(XlaShape logsumexp) {
    Dims& order = logsumexp.layout->minor_to_major;
    const auto rank = static_cast<int64_t>(logsumexp.dims.size());
    const auto positions = std::find(order.begin(), order.end(), rank - 1);
    order.insert(positions == order.begin() ? order.end() : positions + 1, rank);
    logsumexp.dims.push_back(1);
    Add("logsumexp", BufferKind::kOutput, std::move(logsumexp));
  }

  // Where nothing moves XLA makes the slice a sum over one lane, whose addition has two operands
  // and a result. It has no axes of one element. Where it would lie in memory as logsumexp does it
  // is the output; else it is copied there, and takes the place of what the kernel has read.
  void AddSum(const XlaShape& logsumexp) {
    has_sum_ = true;
    XlaShape scalar;
    scalar.dtype = "f32";
    for (const char* name : {"a summand", "another summand", "their sum"}) {
      Add(name, BufferKind::kThreadLocal, scalar, kThreadLocalBytes);
    }
    Dims dims = logsumexp.dims;
    std::erase(dims, 1);
    if (dims == logsumexp.dims) return Add("logsumexp", BufferKind::kOutput, logsumexp);
    const XlaShape sum = RowMajorShape("f32", dims);
    const bool is_one_row = dims.size() < 2 || dims.back() <= kKernelLanes;
    if (is_one_row && TiledBytes(sum) == TiledBytes(logsumexp)) {
      return Add("logsumexp", BufferKind::kOutput, sum);
    }
    Add("logsumexp", BufferKind::kOutput, logsumexp);
    AddTemporary("logsumexp, no unit axes", sum);
    result_.buffers.back().shares_bytes = true;
  }

  // The last is the accumulator or what follows it in `buffers`, but the pointers to the results
  // stand first in a program without a sum.
  void AddTemporaryBytes() {
    int64_t last = 0, total = 0;
    for (const ProgramBuffer& buffer : result_.buffers) {
      if (buffer.kind != BufferKind::kTemporary || !buffer.is_in_hbm()) continue;
      if (buffer.shares_bytes) continue;
      total += RoundedUp(buffer.bytes, kTemporaryAlignment);
      if (has_sum_ || !buffer.shape.is_tuple) last = buffer.bytes;
    }
    total += options_.prefetch_tables * RoundedUp(chip_.hbm_granule_bytes, kTemporaryAlignment);
    result_.temporary_bytes = total + last - RoundedUp(last, kTemporaryAlignment);
  }

  const AttentionConfig& config_;
  const LiteralTables& tables_;
  const TpuSpec& chip_;
  const ProgramOptions& options_;
  int64_t faster_bytes_left_ = 0;
  XlaShape out_;
  bool has_sum_ = false;
  int64_t freed_bytes_ = 0;  // Of the copy of a single sink.
  ProgramBuffers result_;
};

}  // namespace

std::string_view BufferKindName(BufferKind kind) {
  switch (kind) {
    case BufferKind::kArgument:
      return "argument";
    case BufferKind::kConstant:
      return "constant";
    case BufferKind::kTemporary:
      return "temporary";
    case BufferKind::kOutput:
      return "output";
    case BufferKind::kThreadLocal:
      return "thread-local";
  }
  return "";
}

std::optional<FasterMemory> FasterMemoryOf(const TpuSpec& chip, int64_t scoped_vmem_bytes) {
  if (chip.name == "v4") return FasterMemory{kCmemSpace, kCmemBytes};
  // On v5p, whose device is two cores with a VMEM each, XLA leaves it to kernels.
  if (chip.name == "v5p") return std::nullopt;
  if (scoped_vmem_bytes >= chip.vmem_bytes) return std::nullopt;
  return FasterMemory{1, chip.vmem_bytes - scoped_vmem_bytes};
}

int64_t ProgramBuffers::HbmBytes() const {
  int64_t bytes = temporary_bytes;
  for (const ProgramBuffer& buffer : buffers) {
    if (buffer.kind != BufferKind::kTemporary) bytes += buffer.bytes;
  }
  return bytes;
}

ProgramBuffers PredictBuffers(const AttentionConfig& config, const LiteralTables& tables,
                              const TpuSpec& chip, const ProgramOptions& options) {
  CheckAttentionConfig(config);
  return BufferList(config, tables, chip, options).Build();
}

}  // namespace splashmask
