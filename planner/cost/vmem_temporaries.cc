// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/vmem_temporaries.h"

#include <algorithm>
#include <cmath>

namespace splashmask {

namespace {

constexpr double kMiB = 1 << 20;

// Factors of what follows, fitted by tools/fit_vmem.py; each is 0 or more.
struct Fitted {
  double tile;           // The logits of a compute step.
  double tile_v4;        // More of them on v4,
  double tile_v7;        // on tpu7x,
  double tile_soft_cap;  // with a soft cap,
  double tile_f32;       // of float32 operands,
  double tile_masked;    // and under any mask.
  // Of what the compiler overlaps of the next steps, up to kNext bytes.
  double next_v4, next_v5, next_v6, next_v7;
  // Of further ones, up to twice as much.
  double later, later_v7;
  // Blocks of operands that the kernel transposes.
  double q, k, v;
  double in_registers;  // MiB that stay there, where a tile is larger than most of them.
  // The band: a share of all, and MiB.
  double band_share, band_mib;
};

constexpr double kNext = 0.6 * kMiB;
constexpr double kSmallTile = 0.2 * kMiB;

constexpr Fitted kForward{.tile = 0.95,
                          .tile_v4 = 0,
                          .tile_v7 = 0,
                          .tile_soft_cap = 0,
                          .tile_f32 = 0,
                          .tile_masked = 0.11,
                          .next_v4 = 0.46,
                          .next_v5 = 0.65,
                          .next_v6 = 0.92,
                          .next_v7 = 1.01,
                          .later = 0.20,
                          .later_v7 = 0.59,
                          .q = 1.21,
                          .k = 0.58,
                          .v = 0.61,
                          .in_registers = 0.12,
                          .band_share = 0.2,
                          .band_mib = 0.1};
constexpr Fitted kDq{.tile = 1.24,
                     .tile_v4 = 0,
                     .tile_v7 = 0,
                     .tile_soft_cap = 0,
                     .tile_f32 = 0,
                     .tile_masked = 0.09,
                     .next_v4 = 0,
                     .next_v5 = 0,
                     .next_v6 = 0,
                     .next_v7 = 0,
                     .later = 0,
                     .later_v7 = 0,
                     .q = 0.36,
                     .k = 1.45,
                     .v = 0.63,
                     .in_registers = 0.2,
                     .band_share = 0.2,
                     .band_mib = 0.1};
constexpr Fitted kDkv{.tile = 1.12,
                      .tile_v4 = 0.85,
                      .tile_v7 = 0,
                      .tile_soft_cap = 0,
                      .tile_f32 = 0.15,
                      .tile_masked = 0.09,
                      .next_v4 = 0.05,
                      .next_v5 = 0.05,
                      .next_v6 = 0.05,
                      .next_v7 = 0.05,
                      .later = 0,
                      .later_v7 = 0,
                      .q = 2.19,
                      .k = 0.49,
                      .v = 0,
                      .in_registers = 0.2,
                      .band_share = 0.2,
                      .band_mib = 0.1};
constexpr Fitted kFused{.tile = 1.20,
                        .tile_v4 = 0.65,
                        .tile_v7 = 0.27,
                        .tile_soft_cap = 0.99,
                        .tile_f32 = 0,
                        .tile_masked = 0.06,
                        .next_v4 = 0.17,
                        .next_v5 = 0.17,
                        .next_v6 = 0.17,
                        .next_v7 = 0.17,
                        .later = 0,
                        .later_v7 = 0,
                        .q = 0.22,
                        .k = 0,
                        .v = 1.70,
                        .in_registers = 0.2,
                        .band_share = 0.2,
                        .band_mib = 0.1};

const Fitted& FittedOf(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kDq:
      return kDq;
    case TpuKernel::kDkv:
      return kDkv;
    case TpuKernel::kFused:
      return kFused;
    default:
      return kForward;
  }
}

double NextOf(const Fitted& fitted, int generation) {
  return generation == 4   ? fitted.next_v4
         : generation == 5 ? fitted.next_v5
         : generation == 6 ? fitted.next_v6
                           : fitted.next_v7;
}

// Of a block whose head dimension fills whole lanes.
double BlockBytes(int64_t positions, int64_t head_dim, const AttentionConfig& config) {
  const int64_t lanes = (head_dim + 127) / 128 * 128;
  return static_cast<double>(positions * lanes * OperandBytes(config.dtype));
}

}  // namespace

ByteBand VmemTemporaries(const TpuSpec& spec, TpuKernel kernel, const AttentionConfig& config,
                         const PassTables& tables) {
  const Fitted& fitted = FittedOf(kernel);
  const KernelBlocks blocks = BlocksOf(config.block_sizes, kernel);
  const double tile = 4.0 * static_cast<double>(blocks.q * blocks.kv_compute);
  const double all_steps = 4.0 * static_cast<double>(blocks.q * blocks.kv);
  const bool is_v7 = spec.generation >= 7;
  const bool is_masked = tables.has_q_sequence || tables.partial_blocks > 0;

  double bytes =
      tile * (fitted.tile + (spec.generation == 4 ? fitted.tile_v4 : 0) +
              (is_v7 ? fitted.tile_v7 : 0) + (config.soft_cap ? fitted.tile_soft_cap : 0) +
              (config.dtype == OperandDType::kFloat32 ? fitted.tile_f32 : 0) +
              (is_masked ? fitted.tile_masked : 0));
  bytes += NextOf(fitted, spec.generation) * std::min(all_steps - tile, kNext);
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
  if (tile > kSmallTile) bytes -= fitted.in_registers * kMiB;
  bytes = std::max(bytes, 0.0);

  const double band = fitted.band_share * bytes + fitted.band_mib * kMiB;
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
