// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/nearest_fit.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

constexpr int64_t kFarthest = 16;

// Divisors of `whole` within a factor of kFarthest of `size`.
std::vector<int64_t> DivisorsNear(int64_t size, int64_t whole) {
  std::vector<int64_t> divisors;
  const int64_t most = std::min(whole, size * kFarthest);
  for (int64_t d = std::max<int64_t>(size / kFarthest, 1); d <= most; ++d) {
    if (whole % d == 0) divisors.push_back(d);
  }
  return divisors;
}

double Doublings(int64_t a, int64_t b) {
  return std::abs(std::log2(static_cast<double>(a) / static_cast<double>(b)));
}

struct Candidate {
  KernelBlocks blocks;
  double distance = 0;
};

bool IsLegal(const AttentionConfig& config) {
  try {
    CheckAttentionConfig(config);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::vector<Candidate> LegalCandidates(TpuKernel kernel, const AttentionConfig& config) {
  const KernelBlocks own = BlocksOf(config.block_sizes, kernel);
  // The other kernels' sizes stay out of the question.
  AttentionConfig alone = config;
  alone.block_sizes = {.q_layout = config.block_sizes.q_layout,
                       .k_layout = config.block_sizes.k_layout,
                       .v_layout = config.block_sizes.v_layout};
  std::vector<Candidate> candidates;
  for (const int64_t q : DivisorsNear(own.q, config.q_len)) {
    for (const int64_t kv : DivisorsNear(own.kv, config.kv_len)) {
      const bool has_compute = PassOf(kernel) != Pass::kDq;
      for (const int64_t compute :
           has_compute ? DivisorsNear(std::min(own.kv_compute, kv), kv) : std::vector{kv}) {
        const KernelBlocks blocks{q, kv, compute};
        AttentionConfig with = alone;
        with.block_sizes = WithBlocks(alone.block_sizes, kernel, blocks);
        if (!IsLegal(with)) continue;
        candidates.push_back({blocks, Doublings(q, own.q) + Doublings(kv, own.kv) +
                                          (has_compute ? Doublings(compute, own.kv_compute) : 0)});
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
  const PassTables own_tables = tables_of(BlocksOf(config.block_sizes, kernel));
  for (const Candidate& candidate : LegalCandidates(kernel, config)) {
    AttentionConfig with = config;
    with.block_sizes = WithBlocks(config.block_sizes, kernel, candidate.blocks);
    if (FootprintOf(spec, kernel, with, own_tables, limit).vmem.fit != Fit::kFits) continue;
    const PassTables tables = tables_of(candidate.blocks);
    if (FootprintOf(spec, kernel, with, tables, limit).fit() == Fit::kFits) {
      return candidate.blocks;
    }
  }
  return std::nullopt;
}

}  // namespace splashmask
