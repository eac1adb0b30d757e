// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/vmem_temporaries.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

constexpr double kMebibyte = 1 << 20;

// Factors of what follows, fitted by tools/fit_vmem.py; each is 0 or more.
struct SpillFactors {
  double tile = 0;           // The logits of a compute step.
  double tile_soft_cap = 0;  // More of them with a soft cap,
  double tile_f32 = 0;       // of float32 operands,
  double tile_masked = 0;    // under any mask,
  double tile_v4 = 0;        // on v4,
  double tile_v7 = 0;        // and on tpu7x.
  // Blocks of operands that the kernel transposes.
  double q = 0, k = 0, v = 0;
  // Sums over heads that are wider than a matrix unit.
  double wide = 0;
  // Of what the compiler overlaps of the next steps, up to kNext bytes.
  std::array<double, 4> next{};  // On v4, v5, v6 and tpu7x.
  // Of further ones, up to twice as much.
  double later = 0, later_v7 = 0;
  double in_registers = 0;  // MiB that stay there, where a tile is larger than most of them.
  // The band: a share of all, and MiB; many: where there are more than two compute steps.
  double band_share = 0, band_mib = 0, band_mib_many = 0;
};

constexpr double kNext = 0.6 * kMebibyte;
constexpr double kSmallTile = 0.2 * kMebibyte;

constexpr SpillFactors kForwardSpills{.tile = 0.95,
                                      .tile_soft_cap = 0.11,
                                      .tile_masked = 0.05,
                                      .q = 0.82,
                                      .k = 1.03,
                                      .v = 0.77,
                                      .next = {0.5, 0.75, 1.08, 1.09},
                                      .later = 0.24,
                                      .later_v7 = 0.34,
                                      .in_registers = 0.12,
                                      .band_share = 0.25,
                                      .band_mib = 0.3,
                                      .band_mib_many = 0.9};
constexpr SpillFactors kDqSpills{.tile = 1.22,
                                 .tile_soft_cap = 0.41,
                                 .tile_masked = 0.1,
                                 .q = 0.52,
                                 .k = 0.69,
                                 .v = 0.82,
                                 .in_registers = 0.2,
                                 .band_share = 0.25,
                                 .band_mib = 0.2,
                                 .band_mib_many = 0.2};
constexpr SpillFactors kDkvSpills{.tile = 1.12,
                                  .tile_soft_cap = 1.12,
                                  .tile_f32 = 0.25,
                                  .tile_masked = 0.1,
                                  .tile_v4 = 0.49,
                                  .q = 1.85,
                                  .k = 0.53,
                                  .wide = 0.46,
                                  .next = {0.04, 0.04, 0.04, 0.04},
                                  .in_registers = 0.2,
                                  .band_share = 0.25,
                                  .band_mib = 0.2,
                                  .band_mib_many = 0.2};
constexpr SpillFactors kFusedSpills{.tile = 1.2,
                                    .tile_soft_cap = 1.02,
                                    .tile_f32 = 0.03,
                                    .tile_masked = 0.07,
                                    .tile_v4 = 0.41,
                                    .tile_v7 = 0.12,
                                    .q = 0.73,
                                    .k = 0.96,
                                    .v = 0.51,
                                    .wide = 0.48,
                                    .next = {0.08, 0.08, 0.08, 0.08},
                                    .in_registers = 0.2,
                                    .band_share = 0.2,
                                    .band_mib = 0.3,
                                    .band_mib_many = 0.3};

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
  const bool is_v7 = spec.generation >= 7;
  const bool is_masked = tables.has_q_sequence || tables.partial_blocks > 0;

  double bytes =
      tile * (fitted.tile + (spec.generation == 4 ? fitted.tile_v4 : 0) +
              (is_v7 ? fitted.tile_v7 : 0) + (config.soft_cap ? fitted.tile_soft_cap : 0) +
              (config.dtype == OperandDType::kFloat32 ? fitted.tile_f32 : 0) +
              (is_masked ? fitted.tile_masked : 0));
  bytes +=
      fitted.next.at(static_cast<size_t>(spec.generation - 4)) * std::min(all_steps - tile, kNext);
  const double later = is_v7 ? fitted.later_v7 : spec.generation == 4 ? 0 : fitted.later;
  bytes += later * std::clamp(all_steps - tile - kNext, 0.0, 2 * kNext);
  const BlockSizes& sizes = config.block_sizes;
  if (sizes.q_layout == QkvLayout::kSeqMinor) {
    bytes += fitted.q * BlockBytes(blocks.q, config.head_dim, config);
  }
  if (sizes.k_layout == QkvLayout::kSeqMinor) {
    bytes += fitted.k * BlockBytes(blocks.kv, config.head_dim, config);
  }
  if (sizes.v_layout == QkvLayout::kSeqMinor) {
    bytes += fitted.v * BlockBytes(blocks.kv, config.head_dim_v, config);
  }
  const int64_t width = RoundedUp(std::max(config.head_dim, config.head_dim_v), kLanes);
  if (width > kLanes) bytes += fitted.wide * 4 * static_cast<double>(blocks.q * width);
  if (tile > kSmallTile) bytes -= fitted.in_registers * kMebibyte;
  bytes = std::max(bytes, 0.0);

  const bool has_many = blocks.kv > 2 * blocks.kv_compute;
  const double band =
      fitted.band_share * bytes + (has_many ? fitted.band_mib_many : fitted.band_mib) * kMebibyte;
  return {std::llround(bytes), std::llround(std::max(bytes - band, 0.0)),
          std::llround(bytes + band)};
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
