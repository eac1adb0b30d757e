// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fastest legal block sizes of a call, as the models of time and memory have it.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/footprint.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/time_model.h"
#include "splashmask/planner/cost/tpu_spec.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// A plan with one pass, for blocks of this shape, of whose partial_mask_blocks only the shape
/// counts; for dkv, that of the fused kernel if `is_fused`. nullopt where its tables do not fit
/// SMEM. PlansOfBlocks (planner/compile/plans_of_blocks.h) makes one; for tokamax, CompileTokamax.
using PlanOfBlocks = std::function<std::optional<Plan>(Pass pass, BlockShape block, bool is_fused)>;

/// The largest block along an axis that is tried: none that is larger was ever measured.
inline constexpr int64_t kLargestBlock = 4096;

struct TuneOptions {
  /// The forward pass with residuals and the backward one; else the forward pass without.
  bool backward = true;
  std::optional<bool> use_fused_bwd_kernel = {};  ///< nullopt: whichever is faster.
  std::optional<QkvLayout> q_layout = {}, k_layout = {}, v_layout = {};  ///< nullopt: the faster.
  int64_t scoped_vmem_limit = 0;  ///< Bytes; 0: the chip's own.
  size_t runners_up = 4;          ///< Kept of each kernel.
  CallOptions call = {};
};

/// A kernel with some blocks and layouts.
struct TunedKernel {
  TpuKernel kernel = TpuKernel::kFwd;
  KernelBlocks blocks;
  StepCounts counts;  ///< Of the shard that takes longest.
  KernelTime time;    ///< Likewise.
  ByteBand vmem;
  int64_t hbm_bytes = 0;  ///< Of a program with the kernel alone; 0 of tokamax's.
  Fit fit = Fit::kFits;   ///< The worst of VMEM, SMEM and HBM.

  /// Pairs of q and kv that its blocks hold, visible or not: what the kernel computes.
  double computed_pairs() const {
    return static_cast<double>(counts.visited()) * static_cast<double>(blocks.q) *
           static_cast<double>(blocks.kv);
  }
};

/// The fastest blocks of a kernel, of those that surely fit; where none does, of those that are too
/// close to call.
struct KernelChoice {
  TunedKernel best;
  std::vector<TunedKernel> runners_up;  ///< The next, fastest first.
  /// Others that fit and are slower by less than kComparisonError: nobody can tell before running
  /// both.
  int64_t as_good = 0;
  /// Faster than `best`, if it fits, which is too close to call.
  std::optional<TunedKernel> undecided = {};
};

/// How well the times of two block sizes of one call compare: one standard deviation of the error
/// of their ratio. See docs/cost-model.md.
inline constexpr double kComparisonError = 0.035;

/// Block sizes for all kernels of a call.
struct TunedCall {
  BlockSizes sizes;
  std::vector<KernelChoice> kernels;

  Fit fit() const;                      ///< The worst of its kernels; never kDoesNotFit.
  double seconds() const;               ///< Of one call, each kernel on its slowest shard.
  double relative_uncertainty() const;  ///< One standard deviation, as KernelTime has it.
};

struct TuneResult {
  TunedCall best;
  /// The best with each other combination of layouts and backward kernels, fastest first; before
  /// them what surely fits.
  std::vector<TunedCall> others;

  // Kernels with blocks and layouts that were tried, and why some were not taken: the first memory
  // that does not hold them, or that it is too close to call.
  int64_t candidates = 0;
  int64_t beyond_vmem = 0, beyond_smem = 0, beyond_hbm = 0, undecided = 0;
};

/// Tries every legal block size up to kLargestBlock that is a multiple of 128 (or all of q), of
/// every kernel, with every layout. `config` is of one device, and its block_sizes do not count.
/// tokamax has no dq kernel.
///
/// Source of the rules: CheckAttentionConfig, FootprintOf, HbmUseOf and PredictTime. tokamax's
/// kernels took up to 24 % more VMEM than the band of JAX's says (145 kernels, libtpu 0.0.51), and
/// are given that.
///
/// Throws kInvalidArgument where an axis has no legal blocks, or where none of a kernel fits.
TuneResult Tune(const TpuSpec& spec, const AttentionConfig& config, const TuneOptions& options,
                const PlanOfBlocks& plan_of);

/// Bytes that the tables of all shards may take for each to fit its SMEM.
int64_t SmemOfShards(const TpuSpec& spec, const PlanOptions& options);

/// The finest blocks that Tune may ask for, whose multiples all others are: {0, 0} where an axis
/// has no legal ones.
BlockShape FinestTunedBlocks(const AttentionConfig& config);

}  // namespace splashmask
