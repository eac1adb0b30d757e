// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/splash_call.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

constexpr int64_t kKernelLanes = 128, kKernelSublanes = 8;
constexpr size_t kResults = 4;  // m, l, the accumulator and out; logsumexp follows.

[[noreturn]] void Expected(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[xla] expected " + what);
}

bool IsInteger(const XlaShape& shape) {
  return shape.dtype == "s8" || shape.dtype == "s16" || shape.dtype == "s32";
}

// The instruction's other results beside its first are values of their own.
const XlaInstruction& FindForwardKernel(const XlaBuffers& buffers) {
  std::vector<const XlaInstruction*> found;
  std::vector<std::string> names;
  for (const XlaInstruction& instruction : buffers.instructions) {
    if (!instruction.kernel || !instruction.kernel->name.starts_with("splash_m")) continue;
    if (std::find(names.begin(), names.end(), instruction.name) != names.end()) continue;
    names.push_back(instruction.name);
    found.push_back(&instruction);
  }
  if (found.size() != 1 || found[0]->kernel->name.find("_fwd") == std::string::npos) {
    Expected(
        fmt::format("a program that calls one splash attention kernel, the forward one, got "
                    "{}: compile the forward pass alone",
                    names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "))));
  }
  return *found[0];
}

const XlaShape& ShapeOfOperand(const XlaBuffers& buffers, const std::string& name) {
  for (const XlaValue& value : buffers.values) {
    for (const XlaPosition& position : value.positions) {
      if (position.instruction == name && position.index.empty()) return value.shape;
    }
  }
  Expected(fmt::format("a value for the kernel's operand {}, got none", name));
}

// Reads the operands of one call.
class CallReader {
 public:
  CallReader(const XlaBuffers& buffers, const XlaInstruction& call)
      : buffers_(buffers), call_(call) {
    for (const std::string& name : call.operands) {
      operands_.push_back(ShapeOfOperand(buffers, name));
    }
  }

  SplashCall Read() {
    result_.kernel = call_.kernel->name;
    ReadGrid();
    ReadResults();
    const size_t tables = CountTables();
    ReadQkv(tables);
    ReadOthers(std::span(operands_).subspan(tables + 3));
    ReadProgram();
    return std::move(result_);
  }

 private:
  void ReadGrid() {
    const MosaicBody& body = call_.kernel->body;
    if (!body.kernel)
      Expected(fmt::format("a body of {} to read, but {}", call_.name, body.reason));
    result_.grid = body.kernel->iteration_bounds;
    if (body.kernel->windows.size() < 2 || body.kernel->windows[1].bounds.size() < 2) {
      Expected(fmt::format("blocks of k in the body of {}, got none", call_.name));
    }
  }

  void ReadResults() {
    const std::vector<XlaShape>& results = call_.shape.elements;
    const bool is_known = results.size() == kResults || results.size() == kResults + 1;
    if (!is_known || results[0].dims.size() < 2 || results[0].dims.size() > 3) {
      Expected(fmt::format("m, l, an accumulator, out and maybe logsumexp as results of {}, got {}",
                           call_.name, XlaShapeText(call_.shape)));
    }
    const std::vector<int64_t>& m = results[0].dims;
    is_batched_ = m.size() == 3;
    if (is_batched_) result_.config.batch = m[0];
    result_.config.block_sizes.block_q = m[m.size() - 2];
    result_.residuals = results.size() > kResults;
  }

  size_t CountTables() const {
    size_t tables = 0;
    while (tables < operands_.size() && IsInteger(operands_[tables])) ++tables;
    if (tables + 3 > operands_.size()) {
      Expected(fmt::format("q, k and v among the operands of {}, got {} operands", call_.name,
                           operands_.size()));
    }
    return tables;
  }

  // Dimensions without those of a batch.
  std::span<const int64_t> DimsOf(const XlaShape& shape, size_t fewest) const {
    const size_t skip = is_batched_ ? 1 : 0;
    if (shape.dims.size() < fewest + skip || shape.dims.size() > 3 + skip) {
      Expected(fmt::format("{} dimensions for an operand of {}, beside a batch's, got {}",
                           fewest == 3 ? "3" : "2 or 3", call_.name, XlaShapeText(shape)));
    }
    return std::span(shape.dims).subspan(skip);
  }

  static QkvLayout LayoutOf(const XlaShape& shape) {
    const bool is_seq_minor = shape.layout && shape.layout->minor_to_major[0] ==
                                                  static_cast<int64_t>(shape.dims.size()) - 2;
    return is_seq_minor ? QkvLayout::kSeqMinor : QkvLayout::kHeadDimMinor;
  }

  void ReadQkv(size_t first) {
    AttentionConfig& config = result_.config;
    const auto q = DimsOf(operands_[first], 3);
    const auto k = DimsOf(operands_[first + 1], 2), v = DimsOf(operands_[first + 2], 2);
    config.heads = q[0];
    config.q_len = q[1];
    config.head_dim = q[2];
    config.kv_heads = k.size() == 3 ? k[0] : 1;
    config.kv_len = k[k.size() - 2];
    config.head_dim_v = v.back();
    const std::string& dtype = operands_[first].dtype;
    if (dtype != "bf16" && dtype != "f32") Expected("q of bf16 or f32, got " + dtype);
    config.dtype = dtype == "bf16" ? OperandDType::kBFloat16 : OperandDType::kFloat32;
    BlockSizes& sizes = config.block_sizes;
    sizes.q_layout = LayoutOf(operands_[first]);
    sizes.k_layout = LayoutOf(operands_[first + 1]);
    sizes.v_layout = LayoutOf(operands_[first + 2]);
    const std::vector<int64_t>& block = call_.kernel->body.kernel->windows[1].bounds;
    sizes.block_kv =
        sizes.k_layout == QkvLayout::kSeqMinor ? block.back() : block[block.size() - 2];
    sizes.block_kv_compute = sizes.block_kv;
  }

  // Segment ids of q and kv, sinks, partial_mask_blocks or q_sequence, each of them or not.
  void ReadOthers(std::span<const XlaShape> others) {
    const auto ends_in = [](const XlaShape& shape, int64_t rows, int64_t columns) {
      const std::vector<int64_t>& dims = shape.dims;
      return dims.size() >= 2 && dims[dims.size() - 2] == rows && dims.back() == columns;
    };
    AttentionConfig& config = result_.config;
    config.segments = others.size() >= 2 && IsInteger(others[0]) && IsInteger(others[1]) &&
                      ends_in(others[0], config.q_len, kKernelLanes) &&
                      ends_in(others[1], kKernelSublanes, config.kv_len);
    if (config.segments) others = others.subspan(2);
    config.sinks = !others.empty() && others[0].dtype == "f32";
  }

  void ReadProgram() {
    for (const XlaValue& value : buffers_.values) {
      const XlaAllocation& allocation = buffers_.allocations[static_cast<size_t>(value.allocation)];
      const bool is_table =
          value.shape.dims.size() == 3 && (IsInteger(value.shape) || value.shape.dtype == "pred");
      result_.tables_are_arguments |= allocation.parameter && is_table;
      if (IsPrefetch(buffers_, value)) {
        result_.prefetch_tables += value.shape.is_tuple;
      } else {
        // VMEM and CMEM; XLA keeps single numbers in others.
        result_.uses_faster_memory |= value.color == 1 || value.color == 3;
      }
    }
  }

  const XlaBuffers& buffers_;
  const XlaInstruction& call_;
  std::vector<XlaShape> operands_;
  bool is_batched_ = false;
  SplashCall result_;
};

}  // namespace

SplashCall FindSplashCall(const XlaBuffers& buffers) {
  return CallReader(buffers, FindForwardKernel(buffers)).Read();
}

bool IsPrefetch(const XlaBuffers& buffers, const XlaValue& value) {
  if (!value.instruction) return false;
  const XlaInstruction& instruction = buffers.instructions[*value.instruction];
  return instruction.opcode == "copy-start" || instruction.opcode == "slice-start" ||
         (instruction.opcode == "slice" && value.color != 0) ||
         instruction.custom_call_target == "ConcatBitcast";
}

}  // namespace splashmask
