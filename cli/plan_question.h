// SPDX-License-Identifier: Apache-2.0
#pragma once
// What `splashmask plan` is asked about: a plan, a chip, and how attention is called.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "splashmask/cli/command_line.h"
#include "splashmask/cli/compile_arguments.h"
#include "splashmask/cli/mask_argument.h"
#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/footprint.h"
#include "splashmask/planner/cost/hbm_use.h"
#include "splashmask/planner/cost/tpu_spec.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask::cli {

struct PlanArguments {
  std::string mask;  // A plan file or a text.
  MaskLengths lengths;
  CompileArguments compile;
  std::optional<int64_t> block_kv_compute, block_kv_dkv_compute;

  std::optional<std::string> chip;
  std::optional<int64_t> kv_heads, head_dim_v;
  int64_t head_dim = 128, batch = 1;
  std::string dtype = "bfloat16";
  std::string q_layout, k_layout, v_layout;  // Empty where they are not given.
  bool segments = false, soft_cap = false, sinks = false;
  std::optional<int64_t> scoped_vmem_limit_kib;

  friend bool operator==(const PlanArguments&, const PlanArguments&) = default;
};

/// All but the mask.
void AddPlanArguments(CommandSyntax& syntax, PlanArguments& arguments);

/// Of --scoped-vmem-limit-kib, in bytes; nullopt: the chip's own. Throws kInvalidArgument for more
/// than the chip has.
int64_t ScopedVmemLimit(const TpuSpec& spec, const std::optional<int64_t>& kib);

/// Of a layout's name; nullopt where none is given.
std::optional<QkvLayout> LayoutOf(const std::string& name);

/// A mask and how attention is called with it, whatever the block sizes.
struct PlanCall {
  std::optional<Plan> plan;  ///< Where it is a plan file's.
  MultiHeadMask mask;
  PlanOptions options;
  const TpuSpec* spec = nullptr;
  AttentionConfig config;  ///< Of one device, without block sizes.
  int64_t scoped_vmem_limit = 0;
};

/// Reads the plan or parses the mask. Throws kInvalidArgument for what cannot be called so, and as
/// ReadPlan does.
PlanCall AskedCall(const PlanArguments& arguments, const Progress& progress);

struct PlanQuestion {
  Plan plan;
  const TpuSpec* spec = nullptr;
  AttentionConfig config;  ///< Of one device.
  int64_t scoped_vmem_limit = 0;
  Progress progress = {};  ///< Of compiling.
};

/// The call with the block sizes that are asked for or that the plan has; compiles it where it is
/// none. Throws kInvalidArgument for what the kernel forbids, and as Compile does.
PlanQuestion QuestionOf(PlanCall call, const PlanArguments& arguments, const Progress& progress);

/// Whether the arguments name block sizes.
bool NamesBlocks(const PlanArguments& arguments);

/// What one kernel takes of the memories of a core and of HBM.
struct KernelMemory {
  KernelFootprint core;
  HbmUse hbm;

  Fit fit() const { return std::max(core.fit(), hbm.fit); }
};
KernelMemory MemoryOf(const PlanQuestion& question, TpuKernel kernel);

/// The tables of `question.plan` with other blocks for one kernel; nullopt where memory does not
/// hold them. Throws kCancelled.
std::optional<PassTables> TablesWithBlocks(const PlanQuestion& question, TpuKernel kernel,
                                           const KernelBlocks& blocks);

}  // namespace splashmask::cli
