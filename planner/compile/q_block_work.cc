// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/q_block_work.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/compile/head_masks.h"
#include "splashmask/planner/compile/partial_blocks.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

void AddTimes(int64_t work, int64_t heads, int64_t* sum) {
  int64_t product = 0;
  if (__builtin_mul_overflow(work, heads, &product) || __builtin_add_overflow(*sum, product, sum)) {
    throw Error(ErrorCode::kTooLarge, "[balance] expected pairs within 64 bits, got more");
  }
}

std::vector<int64_t> PairsOfBlocks(const Mask& mask, int64_t block_q, int threads,
                                   const Progress& progress) {
  std::vector<int64_t> pairs(static_cast<size_t>(mask.shape().q_len / block_q));
  const std::vector<int64_t> of_rows = CountPairsOfRows(mask, {}, threads, progress);
  for (size_t q = 0; q < of_rows.size(); ++q) pairs[q / static_cast<size_t>(block_q)] += of_rows[q];
  return pairs;
}

// How many blocks each block row has that are not empty.
std::vector<int64_t> VisitedBlocks(const Mask& mask, BlockShape block, int threads,
                                   const Progress& progress) {
  std::vector<int64_t> visited;
  RunWithThreads(threads, [&] {
    const std::unique_ptr<const Analysis> analysis = Analyze(mask);
    Counters counters;
    PartialBlocks nothing_kept(block, {});
    const BlockGrid grid = nothing_kept.Find(*analysis, nullptr, progress, counters);
    for (int64_t row = 0; row < grid.rows(); ++row) {
      int64_t& blocks = visited.emplace_back();
      for (const GridRun& run : grid.row(row)) blocks += run.end - run.begin;
    }
  });
  return visited;
}

}  // namespace

PartWork MeasureQBlocks(const MultiHeadMask& mask, BlockShape block, int threads,
                        const Progress& progress) {
  const Shape shape = mask.shape();
  CheckDivides("balance", "block_q", block.q, "q_len", shape.q_len);
  CheckDivides("balance", "block_kv", block.kv, "kv_len", shape.kv_len);
  CheckLeastMemory(shape, block, {}, /*may_shrink=*/true);
  const HeadMasks heads = GroupHeads(mask, /*head_shards=*/1);
  const auto parts = static_cast<size_t>(shape.q_len / block.q);
  PartWork work{std::vector<int64_t>(parts), std::vector<int64_t>(parts)};
  for (size_t i = 0; i < heads.unique.size(); ++i) {
    const int64_t count = heads.unique.size() == 1
                              ? mask.num_heads()
                              : std::ranges::count(heads.table_heads, static_cast<int>(i));
    const double each = 1.0 / static_cast<double>(heads.unique.size());
    const double begin = static_cast<double>(i) * each, middle = begin + each / 2;
    const auto pairs =
        PairsOfBlocks(heads.unique[i], block.q, threads, progress.Part(begin, middle));
    const auto blocks =
        VisitedBlocks(heads.unique[i], block, threads, progress.Part(middle, begin + each));
    for (size_t part = 0; part < parts; ++part) {
      AddTimes(pairs[part], count, &work.pairs[part]);
      AddTimes(blocks[part], count, &work.blocks[part]);
    }
  }
  return work;
}

}  // namespace splashmask
