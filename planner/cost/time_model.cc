// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/time_model.h"

#include <algorithm>
#include <cmath>

#include "splashmask/planner/cost/copied_bytes.h"
#include "splashmask/planner/cost/schedule_cycles.h"
#include "splashmask/planner/cost/time_constants.h"

namespace splashmask {

namespace {

constexpr double kMicrosecond = 1e-6;

constexpr const char* kCaveatTexts[kTimeCaveats] = {
    "this chip was never timed: constants are those of v5p",
    "the backward pass was never timed on this chip",
    "JAX's kernel was never timed: its cycles are those of the compiler's schedule",
    "the compiler's schedule of this kernel was not read on this chip",
    "head dimensions of 64 to 256 were timed",
    "bfloat16 was timed",
    "lengths of 512 to 16,384 were timed",
    "these block sizes are outside those that were timed",
    "segment ids, soft cap, sinks and stored masks were never timed"};

class Caveats {
 public:
  void Add(TimeCaveat caveat, bool holds, double uncertainty) {
    if (!holds) return;
    bits_ |= 1u << static_cast<int>(caveat);
    variance_ += uncertainty * uncertainty;
  }
  uint32_t bits() const { return bits_; }
  double Uncertainty(double of_timed) const { return std::sqrt(of_timed * of_timed + variance_); }

 private:
  uint32_t bits_ = 0;
  double variance_ = 0;
};

bool IsOutside(int64_t value, int64_t least, int64_t most) { return value < least || value > most; }

// How much each caveat adds is a judgement: what the error was of constants of one chip on another,
// and of schedules off their calibrated range.
Caveats CaveatsOf(TpuKernel kernel, const AttentionConfig& config, const StepCounts& counts,
                  const CallOptions& options, const FittedSchedule& schedule,
                  const FittedTime& time) {
  const KernelBlocks blocks = BlocksOf(config.block_sizes, kernel);
  Caveats caveats;
  caveats.Add(TimeCaveat::kChip, !time.is_chip_timed, 0.10);
  caveats.Add(TimeCaveat::kBackward, time.is_chip_timed && !time.is_direction_timed, 0.08);
  caveats.Add(TimeCaveat::kKernel, options.library == SplashLibrary::kJax, 0.05);
  caveats.Add(TimeCaveat::kSchedule, !schedule.is_compiled, 0.08);
  caveats.Add(TimeCaveat::kHeadDim,
              IsOutside(config.head_dim, 64, 256) || IsOutside(config.head_dim_v, 64, 256), 0.10);
  caveats.Add(TimeCaveat::kDType, config.dtype != OperandDType::kBFloat16, 0.10);
  caveats.Add(TimeCaveat::kLength,
              IsOutside(config.q_len, 512, 16384) || IsOutside(config.kv_len, 512, 16384), 0.03);
  caveats.Add(TimeCaveat::kBlocks,
              IsOutside(blocks.q, 512, 4096) || IsOutside(blocks.kv, 256, 4096) ||
                  (kernel != TpuKernel::kDq && IsOutside(blocks.kv_compute, 128, 1024)),
              0.10);
  caveats.Add(TimeCaveat::kOperands,
              config.segments || config.soft_cap || config.sinks || counts.stores_mask, 0.05);
  return caveats;
}

// Cores of a device that work, on average: a parallel dimension of the grid is split among them.
// Batches are parallel, forward heads too; the backward kernels sum over everything else.
double WorkingCores(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config) {
  const int64_t parallel = config.batch * (PassOf(kernel) == Pass::kFwd ? config.heads : 1);
  const int64_t longest = (parallel + spec.cores_per_device - 1) / spec.cores_per_device;
  return static_cast<double>(parallel) / static_cast<double>(longest);
}

}  // namespace

KernelTime PredictTime(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                       const StepCounts& counts, const CallOptions& options) {
  const FittedSchedule schedule = ScheduleOf(spec, options.library, kernel);
  const FittedTime fitted = TimeOf(spec, PassOf(kernel) != Pass::kFwd);
  const TimeConstants& c = fitted.constants;
  const ScheduleCycles cycles = CyclesOf(spec, kernel, config, counts, options, schedule.constants);
  const double cores = WorkingCores(spec, kernel, config);
  const double calls = static_cast<double>(config.batch) / cores;  // That a core runs.
  const double bandwidth = spec.hbm_bytes_per_second_of_device();
  const double issue = spec.clock_hz() * c.clock / (counts.is_static ? 1 : 1 + c.lists);
  const double visited = calls * static_cast<double>(counts.visited());

  KernelTime time;
  time.mxu = calls * cycles.mxu / spec.clock_hz();
  time.vector = calls * cycles.bodies / issue;
  const double skipped = calls * cycles.skipped / issue;
  const double steps = calls * cycles.visited / issue;
  time.overhead = skipped + steps + visited * c.step * kMicrosecond;
  const auto batch = static_cast<double>(config.batch);
  time.flops = batch * cycles.flops;
  time.copied_bytes = batch * CopiedBytes(kernel, config, counts, options.library);
  // The cores share the bandwidth.
  time.hbm = time.copied_bytes / (bandwidth * c.bandwidth) + visited * c.latency * kMicrosecond;
  const double computing =
      std::max(time.vector + steps, time.mxu) + visited * c.step * kMicrosecond;
  time.kernel = skipped + std::max(computing, time.hbm);

  const PassBytes passes = BytesAround(kernel, config, options);
  time.transposes =
      (c.copy * passes.copy + c.transpose * passes.transpose + c.stream * passes.stream) /
          bandwidth +
      c.call * kMicrosecond;

  const Caveats caveats = CaveatsOf(kernel, config, counts, options, schedule, fitted);
  time.caveats = caveats.bits();
  // Of few positions the fit's error is half as large again.
  const bool is_short = config.q_len < 4096 && config.kv_len < 4096;
  time.relative_uncertainty = caveats.Uncertainty(c.uncertainty * (is_short ? 1.5 : 1));
  return time;
}

std::vector<std::string> DescribeCaveats(const KernelTime& time) {
  std::vector<std::string> texts;
  for (int i = 0; i < kTimeCaveats; ++i) {
    if (time.has(static_cast<TimeCaveat>(i))) texts.emplace_back(kCaveatTexts[i]);
  }
  return texts;
}

}  // namespace splashmask
