// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/trace.h"

#include <fmt/format.h>

#include <functional>
#include <utility>

#include "splashmask/kernels/check_tables.h"
#include "splashmask/kernels/grid.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

// Of a TPU's vector registers; the kernel repeats ids, positions and sums along them.
constexpr int64_t kLanes = 128, kSublanes = 8;
// Bools enter the kernel as int32, as all ids and sums.
constexpr int64_t kWordSize = 4;

using Program = std::array<int64_t, 3>;
using Index = std::pair<int64_t, int64_t>;

// An operand, and which of its blocks a step needs.
struct Operand {
  OperandCopies copies;
  std::function<Index(const GridStep&, const Program&)> index;
  Index last{-1, -1};

  void See(const GridStep& step, const Program& program) {
    const Index now = index(step, program);
    copies.copies += now != last;
    last = now;
  }
};

// The operands of a pass, in the kernel's order.
class Operands {
 public:
  Operands(const Plan& plan, Pass pass, const KernelCall& call)
      : heads_per_kv_head_(plan.mask.num_heads() / call.kv_heads) {
    const CompiledPass& compiled = *plan.pass(pass);
    const auto [bq, bkv] = compiled.block;
    const int64_t dim = call.head_dim, dim_v = call.head_dim_v, size = FloatSize(call.type);
    const bool is_dkv = pass == Pass::kDkv, is_fwd = pass == Pass::kFwd;
    // In fwd and dq the q block stays while kv blocks come and go; in dkv it is the other way.
    Input("q", {bq, dim}, size, q_);
    Input("k", {bkv, dim}, size, k_);
    Input("v", {bkv, dim_v}, size, k_);
    if (call.has_segment_ids) {
      Input("q_segment_ids", is_dkv ? Block{kSublanes, bq} : Block{bq, kLanes}, kWordSize, rows_);
      Input("kv_segment_ids", is_dkv ? Block{bkv, kLanes} : Block{kSublanes, bkv}, kWordSize,
            positions_);
    }
    if (call.has_sinks) {
      Input("sinks", {kSublanes, plan.mask.num_heads() / plan.options.head_shards}, kWordSize,
            once_);
    }
    if (!is_fwd) {
      const int64_t repeats = is_dkv ? kSublanes : 1;
      Input("logsumexp", {repeats, bq}, kWordSize, q_);
      Input("do", {bq, dim_v}, size, q_);
      Input("di", {repeats, bq}, kWordSize, q_);
    }
    if (compiled.info.partial_mask_blocks) {
      Input("partial_mask_blocks", is_dkv ? Block{bkv, bq} : Block{bq, bkv}, kWordSize,
            [](const auto& step, const auto&) { return Index(step.stored, 0); });
    }
    if (compiled.info.q_sequence) {
      Input("q_sequence", is_dkv ? Block{kSublanes, bq} : Block{bq, kLanes}, kWordSize, rows_);
    }
    if (is_fwd) {
      Output("m_scratch", {bq, kLanes}, kWordSize, once_);
      Output("l_scratch", {bq, kLanes}, kWordSize, once_);
      Output("o_scratch", {bq, dim_v}, kWordSize, once_);
      Output("out", {bq, dim_v}, size, q_);
      if (call.save_residuals) Output("logsumexp", {bq, kLanes}, kWordSize, q_);
    } else if (!is_dkv) {
      Output("dq_scratch", {bq, dim}, kWordSize, once_);
      Output("dq", {bq, dim}, size, q_);
    } else {
      const bool is_fused = plan.options.use_fused_bwd_kernel;
      if (is_fused && call.block_kv_compute != 0 && call.block_kv_compute != bkv) {
        Output("dq_scratch", {bq, dim}, kWordSize, once_);
      }
      Output("dk_scratch", {bkv, dim}, kWordSize, once_);
      Output("dv_scratch", {bkv, dim_v}, kWordSize, once_);
      if (is_fused) {
        // One for each step, skipped or not: [kv blocks, heads, q blocks].
        Output("dq", {bq, dim}, size, [](const auto&, const Program& program) {
          return Index(program[0], program[1] << 32 | program[2]);
        });
      }
      Output("dk", {bkv, dim}, size, k_);
      Output("dv", {bkv, dim_v}, size, k_);
    }
  }

  void See(const GridStep& step, const Program& program) {
    for (Operand& operand : operands_) operand.See(step, program);
  }

  std::vector<OperandCopies> Copies() const {
    std::vector<OperandCopies> copies;
    for (const Operand& operand : operands_) copies.push_back(operand.copies);
    return copies;
  }

 private:
  using Block = std::vector<int64_t>;
  using IndexOf = std::function<Index(const GridStep&, const Program&)>;

  void Input(const char* name, const Block& block, int64_t size, const IndexOf& index) {
    Add(name, block, size, false, index);
  }
  void Output(const char* name, const Block& block, int64_t size, const IndexOf& index) {
    Add(name, block, size, true, index);
  }
  void Add(const char* name, const Block& block, int64_t size, bool is_output,
           const IndexOf& index) {
    operands_.push_back({{name, block, block[0] * block[1] * size, is_output, 0}, index});
  }

  const int64_t heads_per_kv_head_;
  const IndexOf q_ = [](const auto& step, const auto&) { return Index(step.head, step.q_block); };
  const IndexOf k_ = [this](const auto& step, const auto&) {
    return Index(step.head / heads_per_kv_head_, step.kv_block);
  };
  const IndexOf rows_ = [](const auto& step, const auto&) { return Index(0, step.q_block); };
  const IndexOf positions_ = [](const auto& step, const auto&) { return Index(0, step.kv_block); };
  const IndexOf once_ = [](const auto&, const auto&) { return Index(0, 0); };
  std::vector<Operand> operands_;
};

std::string KernelName(Pass pass, const KernelCall& call) {
  return fmt::format("splash_{}_{}{}_{}", call.kv_heads == 1 ? "mqa" : "mha", PassName(pass),
                     call.has_segment_ids ? "_segmented" : "",
                     pass == Pass::kFwd && call.save_residuals ? "residuals" : "no_residuals");
}

void CheckCall(const Plan& plan, Pass pass, const KernelCall& call) {
  const auto refuse = [](const std::string& text) {
    throw Error(ErrorCode::kInvalidArgument, "[trace] expected " + text);
  };
  if (!plan.pass(pass)) refuse(fmt::format("a plan with the pass {}", PassName(pass)));
  const int64_t heads = plan.mask.num_heads();
  if (call.kv_heads < 1 || heads % call.kv_heads != 0) {
    refuse(fmt::format("kv_heads ({}) to divide the heads of the mask ({})", call.kv_heads, heads));
  }
  if (call.kv_heads > 1 && call.kv_heads % plan.options.head_shards != 0) {
    refuse(fmt::format("kv_heads ({}) to be a multiple of head_shards ({})", call.kv_heads,
                       plan.options.head_shards));
  }
  if (call.head_dim < 1 || call.head_dim_v < 1) {
    refuse(fmt::format("positive head dimensions, got {} and {}", call.head_dim, call.head_dim_v));
  }
  const int64_t block_kv = plan.pass(pass)->block.kv;
  if (call.block_kv_compute < 0 ||
      (call.block_kv_compute > 0 && block_kv % call.block_kv_compute != 0)) {
    refuse(fmt::format("block_kv_compute ({}) to divide block_kv ({})", call.block_kv_compute,
                       block_kv));
  }
  CheckTables(plan, pass);
}

}  // namespace

int64_t GridTrace::hbm_bytes() const {
  int64_t bytes = 0;
  for (const OperandCopies& operand : operands) bytes += operand.bytes();
  return bytes;
}

std::vector<GridTrace> TraceGrid(const Plan& plan, Pass pass, const KernelCall& call) {
  CheckCall(plan, pass, call);
  const Grid grid(plan, pass);
  std::vector<GridTrace> traces;
  for (int64_t head_shard = 0; head_shard < grid.head_shards(); ++head_shard) {
    for (int64_t q_shard = 0; q_shard < grid.q_seq_shards(); ++q_shard) {
      GridTrace trace;
      trace.kernel_name = KernelName(pass, call);
      trace.grid = grid.shape();
      Operands operands(plan, pass, call);
      Program program;
      for (program[0] = 0; program[0] < trace.grid[0]; ++program[0]) {
        for (program[1] = 0; program[1] < trace.grid[1]; ++program[1]) {
          for (program[2] = 0; program[2] < trace.grid[2]; ++program[2]) {
            const GridStep step = grid.At(head_shard, q_shard, program);
            ++trace.steps;
            trace.skipped += step.block_class == 0;
            trace.partial += step.block_class == 1;
            trace.full += step.block_class == 2;
            operands.See(step, program);
          }
        }
      }
      trace.operands = operands.Copies();
      traces.push_back(std::move(trace));
    }
  }
  return traces;
}

}  // namespace splashmask
