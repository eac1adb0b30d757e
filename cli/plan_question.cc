// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/plan_question.h"

#include <fmt/format.h>

#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask::cli {

namespace {

const std::vector<std::string> kLayouts = {"head_dim_minor", "seq_minor"};

BlockSizes BlockSizesOf(const PlanArguments& a, const Plan& plan) {
  BlockSizes sizes;
  if (plan.fwd) {
    sizes.block_q = plan.fwd->block.q;
    sizes.block_kv = plan.fwd->block.kv;
    sizes.block_kv_compute = a.block_kv_compute.value_or(sizes.block_kv);
  }
  if (plan.dq) {
    sizes.block_q_dq = plan.dq->block.q;
    sizes.block_kv_dq = plan.dq->block.kv;
  }
  if (plan.dkv) {
    sizes.block_q_dkv = plan.dkv->block.q;
    sizes.block_kv_dkv = plan.dkv->block.kv;
    sizes.block_kv_dkv_compute = a.block_kv_dkv_compute.value_or(sizes.block_kv_dkv);
  }
  sizes.use_fused_bwd_kernel = plan.options.use_fused_bwd_kernel;
  constexpr QkvLayout kDefault = QkvLayout::kHeadDimMinor;
  sizes.q_layout = LayoutOf(a.q_layout).value_or(kDefault);
  sizes.k_layout = LayoutOf(a.k_layout).value_or(kDefault);
  sizes.v_layout = LayoutOf(a.v_layout).value_or(kDefault);
  return sizes;
}

// Shards cut heads of q and of kv alike; one kv head serves all.
int64_t KvHeadsOfDevice(int64_t kv_heads, int64_t heads, int64_t head_shards) {
  if (heads % kv_heads != 0) {
    ThrowUnusable(fmt::format("expected --kv-heads ({}) to divide {} heads", kv_heads, heads));
  }
  if (kv_heads == 1) return 1;
  if (kv_heads % head_shards != 0) {
    ThrowUnusable(
        fmt::format("expected head_shards ({}) to divide --kv-heads ({})", head_shards, kv_heads));
  }
  return kv_heads / head_shards;
}

}  // namespace

void AddPlanArguments(CommandSyntax& syntax, PlanArguments& a) {
  AddMaskLengths(syntax, a.lengths);
  AddCompileArguments(syntax, a.compile);
  syntax.Integer("--block-kv-compute", a.block_kv_compute,
                 "kv positions of a compute step (default: --block-kv)");
  syntax.Integer("--block-kv-dkv-compute", a.block_kv_dkv_compute, "... (default: --block-kv-dkv)");
  syntax.Text("--chip", "CHIP", a.chip, fmt::format("One of {}", TpuSpecNames()));
  syntax.Integer("--head-dim", a.head_dim, "Of q and k (default: 128)");
  syntax.Integer("--head-dim-v", a.head_dim_v, "Of v and the output (default: --head-dim)");
  syntax.Integer("--kv-heads", a.kv_heads, "Heads of k and v (default: as many as of q)");
  syntax.Integer("--batch", a.batch, "Sequences of a call (default: 1)");
  syntax.Choice("--dtype", "DTYPE", a.dtype, {"bfloat16", "float32"},
                "Of q, k and v: bfloat16 or float32 (default: bfloat16)");
  syntax.Choice("--q-layout", "LAYOUT", a.q_layout, kLayouts,
                "head_dim_minor or seq_minor (default: head_dim_minor, with --tune the faster)");
  syntax.Choice("--k-layout", "LAYOUT", a.k_layout, kLayouts, "Likewise");
  syntax.Choice("--v-layout", "LAYOUT", a.v_layout, kLayouts, "Likewise");
  syntax.Flag("--segments", a.segments, "Calls have segment ids");
  syntax.Flag("--soft-cap", a.soft_cap, "Calls have attn_logits_soft_cap");
  syntax.Flag("--sinks", a.sinks, "Calls have sinks");
  syntax.Integer("--scoped-vmem-limit-kib", a.scoped_vmem_limit_kib,
                 "xla_tpu_scoped_vmem_limit_kib (default: the chip's)");
}

int64_t ScopedVmemLimit(const TpuSpec& spec, const std::optional<int64_t>& kib) {
  if (!kib) return spec.scoped_vmem_bytes;
  const int64_t most_kib = spec.vmem_bytes >> 10;
  if (*kib > most_kib) {
    ThrowUnusable(
        fmt::format("expected --scoped-vmem-limit-kib of at most {}, all that a {} has, got {}",
                    most_kib, spec.name, *kib));
  }
  return *kib << 10;
}

std::optional<QkvLayout> LayoutOf(const std::string& name) {
  if (name.empty()) return std::nullopt;
  return name == kLayouts[0] ? QkvLayout::kHeadDimMinor : QkvLayout::kSeqMinor;
}

bool NamesBlocks(const PlanArguments& a) {
  const CompileArguments& c = a.compile;
  return c.block_q || c.block_kv || c.block_q_dq || c.block_kv_dq || c.block_q_dkv ||
         c.block_kv_dkv || a.block_kv_compute || a.block_kv_dkv_compute;
}

PlanCall AskedCall(const PlanArguments& a, const Progress& progress) {
  if (!a.chip) ThrowUnusable("expected --chip, one of " + TpuSpecNames());
  const TpuSpec& spec = FindTpuSpec(*a.chip);
  const bool is_text = IsMaskText(a.mask);
  if (!is_text && (a.lengths.is_given() || !(a.compile == CompileArguments()))) {
    ThrowUnusable(
        "expected no lengths, block sizes, passes or shards beside a plan file, which has its "
        "own; --block-kv-compute and --block-kv-dkv-compute are asked for");
  }
  MaskArgument mask =
      is_text ? ParseTextArgument(a.mask, a.lengths) : ReadPlanArgument(a.mask, progress);
  const PlanOptions options = is_text ? CompileOptionsOf(a.compile).plan : mask.plan->options;
  PlanCall call{std::move(mask.plan),
                std::move(mask.mask),
                options,
                &spec,
                {},
                ScopedVmemLimit(spec, a.scoped_vmem_limit_kib)};
  const Shape shape = call.mask.shape();
  const int64_t heads = call.mask.num_heads();
  AttentionConfig& config = call.config;
  config.batch = a.batch;
  config.heads = heads / options.head_shards;
  config.kv_heads = KvHeadsOfDevice(a.kv_heads.value_or(heads), heads, options.head_shards);
  config.q_len = shape.q_len / options.q_seq_shards;
  config.kv_len = shape.kv_len;
  config.head_dim = a.head_dim;
  config.head_dim_v = a.head_dim_v.value_or(a.head_dim);
  config.dtype = OperandDTypeFromName(a.dtype);
  config.segments = a.segments;
  config.soft_cap = a.soft_cap;
  config.sinks = a.sinks;
  return call;
}

PlanQuestion QuestionOf(PlanCall call, const PlanArguments& a, const Progress& progress) {
  if (!call.plan) {
    CompileOptions options = CompileOptionsOf(a.compile);
    options.progress = progress;
    call.plan = Compile(call.mask, options);
  }
  PlanQuestion question{std::move(*call.plan), call.spec, call.config, call.scoped_vmem_limit,
                        progress};
  AttentionConfig& config = question.config;
  config.block_sizes = BlockSizesOf(a, question.plan);
  if (KernelsOf(config.block_sizes).empty()) {
    ThrowUnusable("expected a plan with a pass of JAX's dialect, got one of tokamax's alone");
  }
  CheckAttentionConfig(config);
  return question;
}

KernelMemory MemoryOf(const PlanQuestion& question, TpuKernel kernel) {
  const MaskInfo& info = question.plan.pass(PassOf(kernel))->info;
  const PlanOptions& options = question.plan.options;
  return {FootprintOf(*question.spec, kernel, question.config, TablesOf(info, options),
                      question.scoped_vmem_limit),
          HbmUseOf(*question.spec, kernel, question.config, ProgramTablesOf(info, options))};
}

std::optional<PassTables> TablesWithBlocks(const PlanQuestion& question, TpuKernel kernel,
                                           const KernelBlocks& blocks) {
  const Pass pass = PassOf(kernel);
  const BlockShape block{blocks.q, blocks.kv};
  const std::optional<CompiledPass>& own = question.plan.pass(pass);
  if (own && own->block == block) return TablesOf(own->info, question.plan.options);
  CompileOptions options;
  options.plan = question.plan.options;
  options.progress = question.progress;
  options.block(pass) = block;
  try {
    const Plan plan = Compile(question.plan.mask, options);
    return TablesOf(plan.pass(pass)->info, options.plan);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kTooLarge) throw;
    return std::nullopt;
  }
}

}  // namespace splashmask::cli
