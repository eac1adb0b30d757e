// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long a kernel of splash attention takes on a TPU, from a plan's own tables. The formula, its
// constants and their errors are in docs/cost-model.md.

#include <cstdint>
#include <string>
#include <vector>

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/step_counts.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask {

/// Whose kernel runs.
enum class SplashLibrary : uint8_t { kJax, kTokamax };

/// What AttentionConfig leaves open.
struct CallOptions {
  SplashLibrary library = SplashLibrary::kJax;
  bool lp_scheduler = false;  ///< tokamax's use_experimental_scheduler, forward.
  /// q, k, v and their likes are [batch, length, heads, dim] outside, as tokamax's
  /// dot_product_attention takes them, and the time includes that XLA rearranges them. Otherwise
  /// they are as the kernel has them.
  bool is_length_major = false;
};

/// Why a time is extrapolated.
enum class TimeCaveat : uint8_t {
  kChip,      ///< No timing of this chip was known.
  kBackward,  ///< Of its backward pass.
  kKernel,    ///< Of JAX's kernel on any chip: its schedule is the compiler's.
  kSchedule,  ///< The compiler's schedule of this kernel on this chip was not fitted.
  kHeadDim,   ///< Outside 64 to 256.
  kDType,     ///< Not bfloat16.
  kLength,    ///< Outside 512 to 16,384 positions.
  kBlocks,    ///< Outside those that were timed.
  kOperands,  ///< Segment ids, soft cap, sinks or a mask that is stored were never timed.
};
inline constexpr int kTimeCaveats = 9;

/// Seconds.
struct KernelTime {
  // What each part of the device would need by itself.
  double mxu = 0;       ///< Matrix products, head dimensions padded to the matrix unit's side.
  double vector = 0;    ///< The schedule of the steps' bodies: softmax, masks; products are issued
                        ///< in the same bundles.
  double hbm = 0;       ///< The kernel's copies, by the rule of StepCounts.
  double overhead = 0;  ///< Grid steps, those that are skipped, starting and writing of outputs.

  // What the first and the third of these come from, of the whole device.
  double flops = 0;         ///< Of the products over visited blocks, head dimensions as they are.
  double copied_bytes = 0;  ///< Between HBM and VMEM.

  double kernel = 0;      ///< The kernel: computing and copying overlap.
  double transposes = 0;  ///< Passes of XLA before and after it, and the call.
  double total() const { return kernel + transposes; }

  double relative_uncertainty = 0;  ///< Of total(): one standard deviation.
  uint32_t caveats = 0;             ///< Bits 1 << TimeCaveat.
  bool has(TimeCaveat caveat) const { return caveats >> static_cast<int>(caveat) & 1; }
  bool is_extrapolated() const { return caveats != 0; }
};

/// The time of one call of `kernel` on one device, `counts` being those of the pass that it reads.
/// Microseconds of work, no allocation. The config is legal (CheckAttentionConfig).
KernelTime PredictTime(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                       const StepCounts& counts, const CallOptions& options = {});

/// The reasons of `time.caveats` in words.
std::vector<std::string> DescribeCaveats(const KernelTime& time);

}  // namespace splashmask
