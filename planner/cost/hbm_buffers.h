// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a compiled program of splash attention keeps in HBM: XLA's buffer assignment, from the plan
// and the configuration alone.
//
// Goals: each buffer with its layout, and the bytes of every allocation, exactly.
// Non-goals: the offsets inside the allocation of temporaries, and what XLA copies into faster
// memories ahead of the kernel: that follows from its model of time.
//
// Source of every rule: buffer assignments of libtpu 0.0.51. tests/python/hbm_buffers_test.py holds
// the rules to that compiler, and tests/python/cli_compare_xla_test.py to the dump of an older one.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/literal_tables.h"
#include "splashmask/planner/cost/tiled_shape.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask {

/// What a buffer is to the program. Every buffer has an allocation of its own, but temporaries
/// share one for each memory. Thread-local: scalars of a reduction, which XLA counts too.
enum class BufferKind : uint8_t { kArgument, kConstant, kTemporary, kOutput, kThreadLocal };

/// "argument", "constant", "temporary", "output" or "thread-local".
std::string_view BufferKindName(BufferKind kind);

struct ProgramBuffer {
  std::string name;  ///< "q", "q_sequence, broadcast".
  BufferKind kind = BufferKind::kArgument;
  XlaShape shape;  ///< With layout and memory space.
  int64_t bytes = 0;
  bool is_table = false;  ///< An argument or constant of the mask's tables.

  bool is_in_hbm() const { return !shape.layout || shape.layout->memory_space == 0; }
};

/// Memory beside HBM in which arrays lie that the program makes itself, as far as they fit: which
/// stay out when they do not is XLA's choice, and the first that come go in here.
struct FasterMemory {
  int64_t space = 1;  ///< S(n) in XLA's layouts.
  int64_t bytes = 0;  ///< That the kernels leave.
};

/// What XLA has for such arrays when kernels may take that much of VMEM: on v4 the memory that only
/// that chip has beside it (CMEM), on v5p nothing, on others the rest of VMEM. nullopt: nothing.
std::optional<FasterMemory> FasterMemoryOf(const TpuSpec& chip, int64_t scoped_vmem_bytes);

/// How the program calls attention and is compiled.
struct ProgramOptions {
  bool tables_are_arguments = false;  ///< Else they are literals, as when jit closes over a kernel.
  std::optional<FasterMemory> faster_memory = {};  ///< nullopt: every array lies in HBM.
  /// Tables of pointers in HBM of what XLA copies ahead of the kernel, one or two for each piece.
  /// temporary_bytes counts them, and `buffers` does not list them.
  int64_t prefetch_tables = 0;
};

/// The buffers of a program that calls one kernel once and does nothing else: it returns out, with
/// residuals logsumexp too, or the gradients that the kernel computes. The backward ones are given
/// out and logsumexp, and XLA sums out * do for them.
struct ProgramBuffers {
  /// Arguments first, then constants, temporaries, outputs and thread-local scalars.
  std::vector<ProgramBuffer> buffers;
  /// Of the allocation that holds the temporaries in HBM: they begin at multiples of 16 KiB, and
  /// those that are not needed at the same time may share bytes.
  int64_t temporary_bytes = 0;

  /// Of all allocations in HBM.
  int64_t HbmBytes() const;
};

/// For a call on one device with the tables of the kernel's pass. Without options.faster_memory
/// this is what libtpu does with xla_msa_enable=false, and with it and without prefetch_tables what
/// it does with xla_msa_max_outstanding_prefetches=0 and xla_msa_max_cross_program_prefetches=0.
/// Throws as CheckAttentionConfig does, kTooLarge for buffers of 2^56 bytes and more, and
/// kInvalidArgument for a backward kernel with faster memory.
ProgramBuffers PredictBuffers(const AttentionConfig& config, TpuKernel kernel,
                              const LiteralTables& tables, const TpuSpec& chip,
                              const ProgramOptions& options);

}  // namespace splashmask
