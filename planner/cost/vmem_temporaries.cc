// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/vmem_temporaries.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

constexpr double kMebibyte = 1 << 20;

struct Factor {
  double least = 0, expected = 0, most = 0;
};

// Factors of what follows, fitted by tools/fit_vmem.py; each is 0 or more.
struct SpillFactors {
  Factor tile = {};           // The logits of a compute step,
  Factor tile_long = {};      // where its rows are of 512 or more,
  Factor tile_short = {};     // where they are shorter, not on v4;
  Factor tile_soft_cap = {};  // more of them with a soft cap,
  Factor tile_masked = {};    // under any mask,
  Factor tile_f32 = {};       // of float32 operands,
  Factor tile_v4 = {};        // on v4,
  Factor tile_q = {};         // where q is transposed
  Factor tile_k = {};         // and where k is,
  Factor tile_wide = {};      // and where sums over heads are wider than a matrix unit.
  Factor registers = {};      // Less: what stays in registers.
  Factor rows = {};           // One value of each q row, in all lanes,
  Factor rows_v4 = {};        // and more on v4.
  // What the compiler overlaps of the next steps, up to kNext bytes: on v4, v5, v6 and tpu7x.
  std::array<Factor, 4> next = {};
  Factor later = {};              // Of further ones, up to twice as much,
  Factor next_soft_cap = {};      // and more of both with a soft cap.
  Factor many_steps = {};         // Every time that there are twice as many, not on v4.
  Factor q = {}, k = {}, v = {};  // Blocks of operands that the kernel transposes,
  Factor q_again = {};            // once more in every further step,
  Factor k_again = {};            // or where there is more than one.
  Factor kv = {};                 // The blocks of k and v.
  Factor wide = {};               // The sums that are wider than a matrix unit,
  Factor wide_steps = {};         // of each step that is longer than one.
};

constexpr double kNext = 0.6 * kMebibyte;
constexpr double kRegisters = 0.2 * kMebibyte;
constexpr double kManySteps = kMebibyte / 8;
constexpr double kMore = 0.03 * kMebibyte;  // Above the most, as a "fits" ought to be one.

constexpr SpillFactors kForwardSpills{
    .tile_long = {0.99, 0.99, 0.88},
    .tile_short = {0.69, 0.68, 0.44},
    .tile_k = {0.06, 0.04, 0.04},
    .registers = {0.72, 0.72, 1.05},
    .rows = {0.47, 0.61, 1.66},
    .rows_v4 = {0.50, 0.94, 0.54},
    .next = {{Factor{0.52, 0.35, 0.17}, Factor{0.44, 0.35, 0.47}, Factor{1.01, 0.96, 0.96},
              Factor{1.01, 1.04, 1.11}}},
    .later = {0, 0, 0.12},
    .next_soft_cap = {0.08, 0.05, 0.15},
    .many_steps = {0.87, 1.06, 0.18},
    .k = {0, 0, 0.91},
    .v = {0, 0.02, 0.81},
    .q_again = {0.42, 0.65, 1.14},
    .k_again = {0.36, 1.08, 0.20},
    .kv = {0, 0.03, 0.46},
    .wide_steps = {0.63, 0.63, 0.65}};
constexpr SpillFactors kDqSpills{.tile = {1.22, 1.21, 1.40},
                                 .tile_soft_cap = {0.41, 0.67, 0.84},
                                 .tile_masked = {0.04, 0.05, 0},
                                 .tile_q = {0.01, 0.02, 0.15},
                                 .tile_k = {0.04, 0.03, 0.30},
                                 .registers = {1.19, 1.19, 0.90},
                                 .rows = {0.11, 0.34, 0.33},
                                 .k = {1.10, 1.41, 0.50},
                                 .v = {0.31, 0.33, 0.72}};
constexpr SpillFactors kDkvSpills{
    .tile = {1.05, 1.10, 1.13},
    .tile_soft_cap = {1.06, 1.00, 1.14},
    .tile_masked = {0.07, 0.10, 0.11},
    .tile_f32 = {0.22, 0.31, 0.47},
    .tile_v4 = {0.41, 0.51, 0.66},
    .tile_q = {0, 0.11, 0.10},
    .registers = {1.33, 1.43, 1.36},
    .rows = {0.28, 0.34, 0.49},
    .next = {{Factor{0.37, 0.44, 0.20}, Factor{}, Factor{}, Factor{}}},
    .q = {0.90, 0.48, 1.08},
    .k = {0.86, 0.94, 2.10},
    .wide = {0.43, 0.75, 0.84}};
constexpr SpillFactors kFusedSpills{
    .tile = {1.26, 1.24, 1.33},
    .tile_soft_cap = {0.73, 0.79, 0.89},
    .tile_v4 = {0.29, 0.30, 0.19},
    .tile_q = {0.11, 0.15, 0.10},
    .tile_wide = {0.28, 0.27, 0},
    .registers = {1.45, 1.44, 1.05},
    .rows = {0.38, 0.49, 0.53},
    .next = {{Factor{0.40, 0.60, 0.71}, Factor{}, Factor{}, Factor{}}},
    .next_soft_cap = {0.19, 0.14, 0.28},
    .q = {0.09, 0, 1.15},
    .k = {0.14, 0.38, 1.46},
    .v = {0, 0.18, 1.82},
    .wide = {0.39, 0.76, 0.89}};

const SpillFactors& FactorsOf(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kDq:
      return kDqSpills;
    case TpuKernel::kDkv:
      return kDkvSpills;
    case TpuKernel::kFused:
      return kFusedSpills;
    default:
      return kForwardSpills;
  }
}

double BlockBytes(int64_t positions, int64_t head_dim, const AttentionConfig& config) {
  return static_cast<double>(positions * RoundedUp(head_dim, kLanes) * OperandBytes(config.dtype));
}

}  // namespace

ByteBand VmemTemporaries(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                         const PassTables& tables) {
  const SpillFactors& fitted = FactorsOf(kernel);
  const KernelBlocks blocks = BlocksOf(config.block_sizes, kernel);
  const double tile = 4.0 * static_cast<double>(blocks.q) * static_cast<double>(blocks.kv_compute);
  const double all_steps = 4.0 * static_cast<double>(blocks.q) * static_cast<double>(blocks.kv);
  const double next = std::min(all_steps - tile, kNext);
  const double later = std::clamp(all_steps - tile - kNext, 0.0, 2 * kNext);
  const int64_t steps = blocks.kv / blocks.kv_compute;
  const int64_t sums =
      RoundedUp(PassOf(kernel) == Pass::kFwd ? config.head_dim_v
                                             : std::max(config.head_dim, config.head_dim_v),
                kLanes);
  const bool is_wide = sums > spec.mxu_size;
  const bool is_masked = tables.has_q_sequence || tables.partial_blocks > 0;
  const BlockSizes& sizes = config.block_sizes;
  const bool has_q_transposed = sizes.q_layout == QkvLayout::kSeqMinor;
  const bool has_k_transposed = sizes.k_layout == QkvLayout::kSeqMinor;
  const bool has_v_transposed = sizes.v_layout == QkvLayout::kSeqMinor;
  const double q_bytes = BlockBytes(blocks.q, config.head_dim, config);
  const double k_bytes = BlockBytes(blocks.kv, config.head_dim, config);
  const double v_bytes = BlockBytes(blocks.kv, config.head_dim_v, config);

  double least = 0, expected = 0, most = 0;
  const auto add = [&](const Factor& factor, double bytes, bool applies = true) {
    if (!applies) return;
    least += factor.least * bytes;
    expected += factor.expected * bytes;
    most += factor.most * bytes;
  };
  add(fitted.tile, tile);
  add(fitted.tile_long, tile, blocks.kv_compute >= 512);
  add(fitted.tile_short, tile, blocks.kv_compute < 512 && spec.generation > 4);
  add(fitted.tile_soft_cap, tile, config.soft_cap);
  add(fitted.tile_masked, tile, is_masked);
  add(fitted.tile_f32, tile, config.dtype == OperandDType::kFloat32);
  add(fitted.tile_v4, tile, spec.generation == 4);
  add(fitted.tile_q, tile, has_q_transposed);
  add(fitted.tile_k, tile, has_k_transposed);
  add(fitted.tile_wide, tile, is_wide);
  add(fitted.registers, -std::min(tile, kRegisters));
  add(fitted.rows, static_cast<double>(blocks.q * kLanes * kWordBytes));
  add(fitted.rows_v4, static_cast<double>(blocks.q * kLanes * kWordBytes), spec.generation == 4);
  add(fitted.next.at(static_cast<size_t>(spec.generation - 4)), next);
  add(fitted.later, later);
  add(fitted.next_soft_cap, next + later, config.soft_cap);
  add(fitted.many_steps, kManySteps * std::max(std::log2(static_cast<double>(steps)) - 1, 0.0),
      spec.generation > 4);
  add(fitted.q, q_bytes, has_q_transposed);
  add(fitted.k, k_bytes, has_k_transposed);
  add(fitted.v, v_bytes, has_v_transposed);
  add(fitted.q_again, q_bytes * static_cast<double>(steps - 1), has_q_transposed);
  add(fitted.k_again, k_bytes, has_k_transposed && steps > 1);
  add(fitted.kv, k_bytes + v_bytes);
  const double sum_bytes = 4 * static_cast<double>(blocks.q * sums);
  add(fitted.wide, sum_bytes, is_wide);
  add(fitted.wide_steps, sum_bytes * static_cast<double>(steps),
      is_wide && blocks.kv_compute > spec.mxu_size);

  expected = std::max(expected, 0.0);
  return {std::llround(expected), std::llround(std::clamp(least, 0.0, expected)),
          std::llround(std::max(most, expected) + kMore)};
}

std::string WhyExtrapolated(const AttentionConfig& config, const KernelBlocks& blocks) {
  const auto is_outside = [](int64_t value, int64_t least, int64_t most) {
    return value < least || value > most;
  };
  if (is_outside(config.head_dim, 64, 256) || is_outside(config.head_dim_v, 64, 256)) {
    return "head dims were measured from 64 to 256";
  }
  if (is_outside(blocks.q, 128, 4096) || is_outside(blocks.kv, 128, 4096)) {
    return "blocks were measured from 128 to 4096";
  }
  if (config.sinks) return "sinks were not measured";
  return "";
}

}  // namespace splashmask
