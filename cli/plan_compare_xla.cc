// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_compare_xla.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "splashmask/cli/plan_question.h"
#include "splashmask/cli/plan_report.h"
#include "splashmask/cli/progress_bar.h"
#include "splashmask/cli/terminal.h"
#include "splashmask/io/xla/splash_call.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/cost/hbm_buffers.h"
#include "splashmask/planner/grouped.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

// A buffer of the prediction, of the compiler, or of both.
struct BufferRow {
  BufferKind kind;
  std::string name;  // Ours, or the compiler's where only it has the buffer.
  XlaShape shape;
  std::optional<int64_t> predicted, compiled;
  std::string instruction;  // The compiler's.

  bool is_equal() const { return predicted == compiled; }
};

struct BytesOfBoth {
  int64_t predicted = 0, compiled = 0;
};

struct Comparison {
  std::vector<BufferRow> rows;
  BytesOfBoth temporaries, hbm, all_memories;
  size_t different = 0;

  bool is_equal() const { return different == 0 && hbm.predicted == hbm.compiled; }
};

[[noreturn]] void Expected(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "[plan] expected " + what);
}

// ---- The plan that the dump's kernel should run.

void CheckSameCall(const Plan& plan, const AttentionConfig& config) {
  const Shape shape = plan.mask.shape();
  if (plan.mask.num_heads() != config.heads || shape.q_len != config.q_len ||
      shape.kv_len != config.kv_len) {
    Expected(fmt::format("a mask of {} heads, {} q x {} kv, as the dump's kernel has, got {}",
                         config.heads, config.q_len, config.kv_len, ShapeText(plan.mask)));
  }
  const BlockShape block{config.block_sizes.block_q, config.block_sizes.block_kv};
  if (!plan.fwd || plan.fwd->block != block) {
    Expected(fmt::format(
        "a plan with fwd blocks of {} q x {} kv, as the dump's kernel has, got {}", block.q,
        block.kv,
        plan.fwd ? fmt::format("{} x {}", plan.fwd->block.q, plan.fwd->block.kv) : "no fwd pass"));
  }
  if (plan.options.head_shards != 1 || plan.options.q_seq_shards != 1) {
    Expected("a plan for one device, got one of several shards");
  }
}

Plan PlanOf(const CompareXlaArguments& arguments, const AttentionConfig& config, ProgressBar& bar) {
  if (!IsMaskText(arguments.plan)) {
    if (arguments.lengths.is_given()) {
      ThrowUnusable("expected no lengths beside a plan file, which has its own");
    }
    Plan plan = std::move(*ReadPlanArgument(arguments.plan, bar.Step("read")).plan);
    CheckSameCall(plan, config);
    return plan;
  }
  MaskLengths lengths = arguments.lengths;
  if (!lengths.q_len) lengths.q_len = config.q_len;
  if (!lengths.kv_len) lengths.kv_len = config.kv_len;
  if (!lengths.heads) lengths.heads = config.heads;
  CompileOptions options;
  options.fwd = BlockShape{config.block_sizes.block_q, config.block_sizes.block_kv};
  options.progress = bar.Step("compile");
  Plan plan = Compile(ParseTextArgument(arguments.plan, lengths).mask, options);
  CheckSameCall(plan, config);
  return plan;
}

// ---- Side by side.

BufferKind KindOf(const XlaAllocation& allocation) {
  if (allocation.parameter) return BufferKind::kArgument;
  if (allocation.is_constant) return BufferKind::kConstant;
  if (allocation.is_thread_local) return BufferKind::kThreadLocal;
  return allocation.is_preallocated_temp ? BufferKind::kTemporary : BufferKind::kOutput;
}

std::string PositionText(const XlaPosition& position) {
  if (position.index.empty()) return position.instruction;
  return fmt::format("{}{{{}}}", position.instruction, fmt::join(position.index, ","));
}

// The compiler's buffers in HBM, VMEM and CMEM: scalars elsewhere, and copies ahead of the kernel,
// are its own choice.
std::vector<BufferRow> CompiledRows(const XlaBuffers& buffers) {
  std::vector<BufferRow> rows;
  for (const XlaValue& value : buffers.values) {
    const bool is_memory_of_arrays = value.color == 0 || value.color == 1 || value.color == 3;
    if (!is_memory_of_arrays || IsPrefetch(buffers, value)) continue;
    const XlaAllocation& allocation = buffers.allocations[static_cast<size_t>(value.allocation)];
    const std::string name = PositionText(value.defined_at);
    rows.push_back({KindOf(allocation), name, value.shape, std::nullopt, value.bytes, name});
  }
  return rows;
}

Comparison Compare(const ProgramBuffers& predicted, const XlaBuffers& buffers) {
  Comparison result;
  std::vector<BufferRow> compiled = CompiledRows(buffers);
  result.temporaries.predicted = predicted.temporary_bytes;
  result.hbm = {predicted.HbmBytes(), buffers.BytesOfColor(0)};
  result.all_memories = {result.hbm.predicted, 0};
  for (const ProgramBuffer& buffer : predicted.buffers) {
    BufferRow row{buffer.kind, buffer.name, buffer.shape, buffer.bytes, std::nullopt, ""};
    if (!buffer.is_in_hbm()) result.all_memories.predicted += buffer.bytes;
    for (auto other = compiled.begin(); other != compiled.end(); ++other) {
      if (other->kind != row.kind || other->compiled != row.predicted ||
          XlaShapeText(other->shape) != XlaShapeText(row.shape)) {
        continue;
      }
      row.compiled = other->compiled;
      row.instruction = other->instruction;
      compiled.erase(other);
      break;
    }
    result.rows.push_back(std::move(row));
  }
  for (BufferRow& row : compiled) result.rows.push_back(std::move(row));
  std::stable_sort(result.rows.begin(), result.rows.end(),
                   [](const BufferRow& a, const BufferRow& b) { return a.kind < b.kind; });
  for (const BufferRow& row : result.rows) result.different += !row.is_equal();
  for (const XlaAllocation& allocation : buffers.allocations) {
    result.all_memories.compiled += allocation.bytes;
    if (allocation.color == 0 && allocation.is_preallocated_temp) {
      result.temporaries.compiled += allocation.bytes;
    }
  }
  return result;
}

// ---- Printing.

std::string LayoutText(const XlaShape& shape) {
  return shape.is_tuple ? fmt::format("{} pointers", shape.elements.size()) : XlaShapeText(shape);
}

std::string Line(bool is_equal, std::string_view name, std::string_view layout,
                 std::optional<int64_t> predicted, std::optional<int64_t> compiled) {
  const auto number = [](std::optional<int64_t> bytes) { return bytes ? Grouped(*bytes) : "-"; };
  return fmt::format("{} {:<27} {:<43} {:>12} {:>12}\n", is_equal ? ' ' : '!', name, layout,
                     number(predicted), number(compiled));
}

std::string SumLine(std::string_view name, const BytesOfBoth& bytes) {
  return Line(bytes.predicted == bytes.compiled, name, "", bytes.predicted, bytes.compiled);
}

std::string CallText(const SplashCall& call, const CompareXlaArguments& arguments) {
  const AttentionConfig& config = call.config;
  std::string text = fmt::format(
      "kernel  {}, grid {}\n"
      "call    {} heads, {} kv heads, {} q x {} kv, head_dim {}, head_dim_v {}, {}\n"
      "blocks  {} q x {} kv\n",
      call.kernel, fmt::join(call.grid, " x "), config.heads, config.kv_heads,
      Grouped(config.q_len), Grouped(config.kv_len), config.head_dim, config.head_dim_v,
      OperandDTypeName(config.dtype), config.block_sizes.block_q, config.block_sizes.block_kv);
  std::vector<std::string> others{arguments.chip};
  if (config.batch > 1) others.push_back(fmt::format("batch of {}", config.batch));
  if (config.segments) others.push_back("segment ids");
  if (config.sinks) others.push_back("sinks");
  if (call.residuals) others.push_back("residuals");
  others.push_back(call.tables_are_arguments ? "tables are arguments" : "tables are literals");
  return text + fmt::format("with    {}\n\n", fmt::join(others, ", "));
}

std::string ComparisonText(const Comparison& comparison, const SplashCall& call) {
  std::string text = fmt::format("  {:<71} {:>12} {:>12}\n", "", "predicted", "compiler");
  const BufferRow* before = nullptr;
  for (const BufferRow& row : comparison.rows) {
    if (!before || before->kind != row.kind) text += fmt::format("{}\n", BufferKindName(row.kind));
    text += Line(row.is_equal(), row.name, LayoutText(row.shape), row.predicted, row.compiled);
    before = &row;
  }
  text += "\n" + SumLine("temporaries in HBM, padded", comparison.temporaries) +
          SumLine("HBM", comparison.hbm) +
          // With what XLA copies ahead, which is not compared.
          Line(true, "all memories", "", comparison.all_memories.predicted,
               comparison.all_memories.compiled) +
          "\n";
  if (call.prefetch_tables > 0) {
    text += fmt::format(
        "What XLA copies ahead of the kernel is its own choice: {} tables of pointers are counted "
        "in HBM\non both sides, and what they point to is no part of the prediction.\n",
        call.prefetch_tables);
  }
  if (comparison.is_equal()) return text + "equal, byte for byte\n";
  return text + fmt::format("differ: {} buffers, {} bytes of HBM\n", comparison.different,
                            Grouped(comparison.hbm.predicted - comparison.hbm.compiled));
}

json::value OrNull(const std::optional<int64_t>& bytes) {
  return bytes ? json::value(*bytes) : json::value(nullptr);
}

json::object BytesJson(const BytesOfBoth& bytes) {
  return {{"predicted", bytes.predicted}, {"compiler", bytes.compiled}};
}

json::object CallJson(const SplashCall& call) {
  const AttentionConfig& config = call.config;
  return {{"kernel", call.kernel},
          {"grid", json::array(call.grid.begin(), call.grid.end())},
          {"batch", config.batch},
          {"heads", config.heads},
          {"kv_heads", config.kv_heads},
          {"q_len", config.q_len},
          {"kv_len", config.kv_len},
          {"head_dim", config.head_dim},
          {"head_dim_v", config.head_dim_v},
          {"dtype", OperandDTypeName(config.dtype)},
          {"block_q", config.block_sizes.block_q},
          {"block_kv", config.block_sizes.block_kv},
          {"segments", config.segments},
          {"sinks", config.sinks},
          {"residuals", call.residuals},
          {"tables_are_arguments", call.tables_are_arguments},
          {"prefetch_tables", call.prefetch_tables}};
}

json::object ComparisonJson(const Comparison& comparison) {
  json::array rows;
  for (const BufferRow& row : comparison.rows) {
    const bool is_ours = row.predicted.has_value(), is_compilers = row.compiled.has_value();
    rows.push_back(json::object{
        {"kind", BufferKindName(row.kind)},
        {"name", is_ours ? json::value(row.name) : json::value(nullptr)},
        {"instruction", is_compilers ? json::value(row.instruction) : json::value(nullptr)},
        {"shape", XlaShapeText(row.shape)},
        {"predicted", OrNull(row.predicted)},
        {"compiler", OrNull(row.compiled)}});
  }
  return {{"equal", comparison.is_equal()},
          {"buffers", std::move(rows)},
          {"temporary_bytes", BytesJson(comparison.temporaries)},
          {"hbm_bytes", BytesJson(comparison.hbm)},
          {"all_bytes", BytesJson(comparison.all_memories)}};
}

ProgramOptions OptionsOf(const SplashCall& call, const TpuSpec& chip,
                         const CompareXlaArguments& arguments) {
  ProgramOptions options;
  options.tables_are_arguments = call.tables_are_arguments;
  options.prefetch_tables = call.prefetch_tables;
  if (call.uses_faster_memory) {
    options.faster_memory =
        FasterMemoryOf(chip, ScopedVmemLimit(chip, arguments.scoped_vmem_limit_kib));
  }
  return options;
}

}  // namespace

ExitCode PlanCompareXla(const CompareXlaArguments& arguments, bool as_json,
                        const std::atomic<bool>& stop) {
  const TpuSpec& chip = FindTpuSpec(arguments.chip);
  const XlaBuffers buffers = ReadXlaBuffers(arguments.file);
  const SplashCall call = FindSplashCall(buffers);
  ProgressBar bar(stop);
  const Plan plan = PlanOf(arguments, call.config, bar);
  bar.Wipe();
  const TpuKernel kernel = call.residuals ? TpuKernel::kFwdResiduals : TpuKernel::kFwd;
  const ProgramBuffers predicted = PredictBuffers(call.config, kernel, LiteralsOf(plan.fwd->info),
                                                  chip, OptionsOf(call, chip, arguments));
  const Comparison comparison = Compare(predicted, buffers);
  if (as_json) {
    json::object result = ComparisonJson(comparison);
    result["file"] = arguments.file;
    result["chip"] = chip.name;
    result["call"] = CallJson(call);
    WriteStdout(ToLine(result));
  } else {
    WriteStdout(CallText(call, arguments) + ComparisonText(comparison, call));
  }
  return comparison.is_equal() ? kDone : kAnswerIsNo;
}

}  // namespace splashmask::cli
