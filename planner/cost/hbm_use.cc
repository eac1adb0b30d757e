// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/hbm_use.h"

#include "splashmask/planner/cost/hbm_buffers.h"

namespace splashmask {

namespace {

constexpr int64_t kLimitError = (int64_t{1} << 30) / 200;  // The limit is known to 0.01 GiB.

Fit FitOfHbm(int64_t bytes, int64_t limit) {
  if (bytes <= limit - kLimitError) return Fit::kFits;
  return bytes > limit + kLimitError ? Fit::kDoesNotFit : Fit::kTooClose;
}

int64_t& ShareOf(const ProgramBuffer& buffer, HbmUse& use) {
  if (buffer.is_table) return use.tables;
  switch (buffer.kind) {
    case BufferKind::kArgument:
      return use.arguments;
    case BufferKind::kOutput:
      return use.outputs;
    default:
      return use.temporaries;
  }
}

}  // namespace

ProgramTables ProgramTablesOf(const MaskInfo& info, const PlanOptions& options) {
  ProgramTables program;
  program.are_arguments = options.head_shards > 1 || options.q_seq_shards > 1;
  if (program.are_arguments) {
    program.tables.tables = TablesOf(info, options);  // Their content tells nothing then.
  } else {
    program.tables = LiteralsOf(info);
  }
  return program;
}

HbmUse HbmUseOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                const ProgramTables& tables) {
  ProgramOptions options;
  options.tables_are_arguments = tables.are_arguments;
  const ProgramBuffers predicted = PredictBuffers(config, kernel, tables.tables, spec, options);
  HbmUse use;
  use.temporaries = predicted.temporary_bytes;
  for (const ProgramBuffer& buffer : predicted.buffers) {
    if (buffer.kind != BufferKind::kTemporary) ShareOf(buffer, use) += buffer.bytes;
  }
  use.limit = spec.hbm_limit_bytes;
  use.fit = FitOfHbm(use.total(), use.limit);
  return use;
}

}  // namespace splashmask
