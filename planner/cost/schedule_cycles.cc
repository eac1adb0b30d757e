// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/schedule_cycles.h"

#include <algorithm>

namespace splashmask {

namespace {

double Tiles(int64_t dim, int64_t size) {
  const int64_t tiles = (dim + size - 1) / size;
  return static_cast<double>(tiles);
}

// 128 lanes of the head dimensions beyond one each, on average.
double TilesBeyondOne(const AttentionConfig& config) {
  return (Tiles(config.head_dim, 128) + Tiles(config.head_dim_v, 128)) / 2 - 1;
}

// Products of logits' rows and columns with each of the head dimensions.
struct Products {
  double of_dim, of_dim_v;
};
Products ProductsOf(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kDq:
      return {2, 1};  // Logits, do v, dq.
    case TpuKernel::kDkv:
      return {2, 2};  // And dk, dv, but not dq.
    case TpuKernel::kFused:
      return {3, 2};
    default:
      return {1, 1};  // Logits, out.
  }
}

double FlopsOfPair(TpuKernel kernel, const AttentionConfig& config) {
  const Products products = ProductsOf(kernel);
  return 2 * (products.of_dim * static_cast<double>(config.head_dim) +
              products.of_dim_v * static_cast<double>(config.head_dim_v));
}

// Vector registers that a block's logits take.
double Vregs(const KernelBlocks& blocks) {
  return static_cast<double>(blocks.q) * static_cast<double>(blocks.kv) / (8 * 128);
}

// Of a block whose logits take `vregs` vector registers.
double MxuCycles(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                 double vregs) {
  const Products products = ProductsOf(kernel);
  const int64_t side = spec.mxu_size;
  const double dims = products.of_dim * Tiles(config.head_dim, side) +
                      products.of_dim_v * Tiles(config.head_dim_v, side);
  const double logits = vregs * 8 * 128, macs = logits * dims * static_cast<double>(side);
  const double macs_per_cycle =
      spec.bf16_flops_per_second / 2 / spec.cores_per_chip / spec.clock_hz();
  return macs / macs_per_cycle * (config.dtype == OperandDType::kFloat32 ? 2 : 1);
}

double BodyBundles(const ScheduleConstants& c, const KernelBlocks& blocks,
                   const AttentionConfig& config, const StepCounts& counts,
                   const CallOptions& options, bool is_fwd, bool is_masked) {
  const double vregs = Vregs(blocks);
  const int64_t steps = blocks.kv / blocks.kv_compute;
  const auto iterations = static_cast<double>(steps);
  const double tiles = TilesBeyondOne(config);
  double vreg = c.vreg + c.vreg_tile * tiles;
  if (is_masked) {
    vreg += c.vreg_masked + c.vreg_masked_tile * tiles;
    if (counts.stores_mask) vreg += c.vreg_stored;
  }
  if (config.segments) vreg += c.vreg_segments;
  if (config.soft_cap) vreg += c.vreg_soft_cap;
  if (config.dtype == OperandDType::kFloat32) vreg += c.vreg_f32;
  double bundles = c.iteration * iterations + c.iteration_vreg * vregs / iterations + c.body;
  const bool is_wide = blocks.kv_compute >= 1024;
  const bool lp = options.library == SplashLibrary::kTokamax && options.lp_scheduler && is_fwd;
  if (is_wide && !lp && is_fwd) vreg += c.vreg_wide;
  if (options.library == SplashLibrary::kTokamax) {
    if (lp) vreg += c.vreg_lp + c.vreg_tile_lp * tiles;
    if (is_wide && is_masked) vreg += c.vreg_wide_masked;
    if (is_wide && lp) bundles += c.iteration_vreg_wide_lp * vregs / iterations;
    if (counts.is_static) {
      vreg += c.vreg_static;
      bundles += c.body_static;
    }
  }
  if (is_fwd && config.block_sizes.k_layout == QkvLayout::kHeadDimMinor) {
    bundles += c.k_rows * static_cast<double>(blocks.kv_compute);
    if (blocks.q <= 512) bundles += c.k_rows_short_tile * tiles * static_cast<double>(blocks.kv);
  }
  return vreg * vregs + bundles;
}

// Of one output block's start and end.
double OutputBundles(const ScheduleConstants& c, TpuKernel kernel, const KernelBlocks& blocks,
                     const AttentionConfig& config, bool lp) {
  double row = c.output_row + c.output_row_tile * TilesBeyondOne(config);
  if (lp) row += c.output_row_lp;
  if (kernel == TpuKernel::kFwdResiduals) {
    row += c.output_row_residuals + (lp ? c.output_row_residuals_lp : 0);
  }
  return row * static_cast<double>(PassOf(kernel) == Pass::kDkv ? blocks.kv : blocks.q);
}

}  // namespace

ScheduleCycles CyclesOf(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                        const StepCounts& counts, const CallOptions& options,
                        const ScheduleConstants& constants) {
  const KernelBlocks blocks = BlocksOf(config.block_sizes, kernel);
  const bool is_fwd = PassOf(kernel) == Pass::kFwd;
  const auto body = [&](bool is_masked) {
    return BodyBundles(constants, blocks, config, counts, options, is_fwd, is_masked);
  };
  const auto partial = static_cast<double>(counts.partial), full = static_cast<double>(counts.full);
  const auto visited = static_cast<double>(counts.visited());
  // JAX's kernel masks every block that it visits, if there is anything to mask with; tokamax's
  // has a body without for full blocks.
  const bool has_mask = counts.computes_mask || counts.stores_mask;
  const bool masks_full = options.library == SplashLibrary::kJax && has_mask;
  ScheduleCycles cycles;
  cycles.mxu = visited * MxuCycles(spec, kernel, config, Vregs(blocks));
  cycles.flops = visited * static_cast<double>(blocks.q) * static_cast<double>(blocks.kv) *
                 FlopsOfPair(kernel, config);
  cycles.bodies = partial * body(has_mask) + full * body(masks_full);
  cycles.skipped = static_cast<double>(counts.skipped) * constants.skipped;
  // A static grid of tokamax with one step for each output has neither tables to look at nor
  // sections of their own for its outputs.
  if (!counts.is_static) {
    cycles.visited += visited * constants.visited;
    if (kernel == TpuKernel::kFwdResiduals) cycles.visited += visited * constants.visited_residuals;
  }
  if (!counts.is_static || counts.outputs < counts.steps()) {
    const bool lp = options.library == SplashLibrary::kTokamax && options.lp_scheduler && is_fwd;
    cycles.visited +=
        static_cast<double>(counts.outputs) * OutputBundles(constants, kernel, blocks, config, lp);
  }
  return cycles;
}

}  // namespace splashmask
