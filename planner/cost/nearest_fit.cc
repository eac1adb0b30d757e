// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/nearest_fit.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

// Divisors of `whole` within kFarthest times of `size` that are multiples of `unit`, and at most
// `most`: more has no chance to fit.
std::vector<int64_t> DivisorsNear(int64_t size, int64_t whole, int64_t unit, int64_t most) {
  const int64_t farthest = size > most / kFarthest ? most : size * kFarthest;
  return MultiplesThatDivide(whole, unit, std::max<int64_t>(size / kFarthest, 1), farthest);
}

double Doublings(int64_t a, int64_t b) {
  return std::abs(std::log2(static_cast<double>(a) / static_cast<double>(b)));
}

struct Candidate {
  KernelBlocks blocks;
  double distance = 0;
};

std::vector<Candidate> LegalCandidates(const TpuSpec& spec, TpuKernel kernel,
                                       const AttentionConfig& config) {
  const KernelBlocks own = BlocksOf(config.block_sizes, kernel);
  // Two buffers of a row of lanes, in bfloat16, are the least that a position takes.
  const int64_t most = spec.vmem_bytes / (2 * kLanes * 2);
  // The forward kernel takes whole sublanes, which nobody asks for who has whole lanes.
  const bool q_in_lanes = own.q % kLanes == 0 || QLiesInLanes(config.block_sizes, kernel);
  const bool has_compute = PassOf(kernel) != Pass::kDq;
  std::vector<Candidate> candidates;
  const auto qs = DivisorsNear(own.q, config.q_len, q_in_lanes ? kLanes : kSublanes, most);
  for (const int64_t kv : DivisorsNear(own.kv, config.kv_len, kLanes, most)) {
    const std::vector<int64_t> computes =
        has_compute ? DivisorsNear(std::min(own.kv_compute, kv), kv, kLanes, most)
                    : std::vector{kv};
    for (const int64_t compute : computes) {
      const double of_kv =
          Doublings(kv, own.kv) + (has_compute ? Doublings(compute, own.kv_compute) : 0);
      for (const int64_t q : qs) {
        candidates.push_back({{q, kv, compute}, of_kv + Doublings(q, own.q)});
      }
    }
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    if (a.distance != b.distance) return a.distance < b.distance;
    return std::tuple(a.blocks.q, a.blocks.kv, a.blocks.kv_compute) >
           std::tuple(b.blocks.q, b.blocks.kv, b.blocks.kv_compute);
  });
  return candidates;
}

}  // namespace

std::optional<KernelBlocks> NearestThatFits(const TpuSpec& spec, TpuKernel kernel,
                                            const AttentionConfig& config, int64_t limit,
                                            const TablesOfBlocks& tables_of) {
  const KernelBlocks own = BlocksOf(config.block_sizes, kernel);
  const std::optional<PassTables> own_tables = tables_of(own);
  if (!own_tables) return std::nullopt;
  const bool has_too_large_tables =
      FootprintOf(spec, kernel, config, *own_tables, limit).smem.fit == Fit::kDoesNotFit;
  for (const Candidate& candidate : LegalCandidates(spec, kernel, config)) {
    const KernelBlocks& blocks = candidate.blocks;
    // Smaller blocks make larger tables.
    if (has_too_large_tables && blocks.q <= own.q && blocks.kv <= own.kv) continue;
    AttentionConfig with = config;
    with.block_sizes = WithBlocks(config.block_sizes, kernel, blocks);
    if (FootprintOf(spec, kernel, with, *own_tables, limit).vmem.fit != Fit::kFits) continue;
    const std::optional<PassTables> tables = tables_of(blocks);
    if (tables && FootprintOf(spec, kernel, with, *tables, limit).fit() == Fit::kFits) {
      return blocks;
    }
  }
  return std::nullopt;
}

}  // namespace splashmask
