// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/hbm_buffers.h"

#include "splashmask/masks/error.h"
#include "splashmask/planner/cost/backward_buffers.h"
#include "splashmask/planner/cost/forward_buffers.h"

namespace splashmask {

namespace {

constexpr int64_t kCmemBytes = 128 << 20;  // Of v4.
constexpr int64_t kCmemSpace = 3;

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

ProgramBuffers PredictBuffers(const AttentionConfig& config, TpuKernel kernel,
                              const LiteralTables& tables, const TpuSpec& chip,
                              const ProgramOptions& options) {
  CheckAttentionConfig(config);
  const ProgramCall call{config, kernel, tables, chip, options};
  if (PassOf(kernel) == Pass::kFwd) return ForwardBuffers(call);
  if (options.faster_memory) {
    throw Error(ErrorCode::kInvalidArgument,
                "[plan] expected a forward kernel beside faster memory, got a backward one");
  }
  return BackwardBuffers(call);
}

}  // namespace splashmask
