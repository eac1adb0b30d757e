// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/tokamax.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/simplify.h"
#include "splashmask/planner/compile/active_lists.h"
#include "splashmask/planner/compile/block_grid.h"
#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/computable.h"
#include "splashmask/planner/compile/partial_blocks.h"
#include "splashmask/planner/memory.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

// In tokamax's order, so that the first complaint is about the same thing.
void CheckOptions(Shape shape, const TokamaxOptions& options) {
  const char* suffix = options.is_dkv ? "_dkv" : "";
  const std::string block_q = fmt::format("block_q{}", suffix);
  const std::string block_kv = fmt::format("block_kv{}", suffix);
  CheckDivides("compile", block_q, options.block.q, "q_len", shape.q_len);
  CheckDivides("compile", block_kv, options.block.kv, "kv_len", shape.kv_len);
  CheckDivides("compile", "q_seq_shards", options.q_seq_shards, "q_len", shape.q_len);
  CheckDivides("compile", block_q, options.block.q, "q_len / q_seq_shards",
               shape.q_len / options.q_seq_shards);
  CheckDivides("compile", "kv_seq_shards", options.kv_seq_shards, "kv_len", shape.kv_len);
  CheckDivides("compile", block_kv, options.block.kv, "kv_len / kv_seq_shards",
               shape.kv_len / options.kv_seq_shards);
  if (options.threads < 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[compile] expected threads of at least 0, got {}", options.threads));
  }
  PlanOptions plan;
  plan.downcast_smem_data = options.downcast_smem_data;
  CheckLeastMemory(shape, options.block, plan, options.return_dynamic_grid);
  // Every shard repeats the rows of its lists, however few of its blocks are visible.
  constexpr int kBytesARow = 16;
  const ByteCount rows =
      options.is_dkv ? ByteCount(options.q_seq_shards) * ByteCount(shape.kv_len / options.block.kv)
                     : ByteCount(options.kv_seq_shards) * ByteCount(shape.q_len / options.block.q);
  if (!FitsInMemory(rows * kBytesARow)) {
    throw Error(ErrorCode::kTooLarge,
                fmt::format("[compile] expected lists that fit in memory ({} bytes are left), but "
                            "the {} x {} shards have {} rows of blocks: use fewer shards",
                            AvailableMemory(), options.q_seq_shards, options.kv_seq_shards,
                            fmt::to_string(rows)));
  }
}

bool IsFull(const BlockGrid& grid) {
  for (int64_t row = 0; row < grid.rows(); ++row) {
    const auto runs = grid.row(row);
    if (runs.size() != 1 || runs[0].begin != 0 || runs[0].end != grid.columns ||
        runs[0].block_class != BlockClass::kFull) {
      return false;
    }
  }
  return true;
}

TokamaxPass CompilePass(const Mask& mask, const TokamaxOptions& options, Counters& counters) {
  const std::unique_ptr<const Analysis> analysis = Analyze(mask);
  std::optional<Computable> computable = FindComputable(mask, options.simplify);

  constexpr double kSettled = 0.9;
  BlockStore::Keep keep;
  if (!computable) (options.is_dkv ? keep.transpose : keep.bits) = true;
  PartialBlocks partial(options.block, keep);
  const BlockGrid grid =
      partial.Find(*analysis, nullptr, options.progress.Part(0, kSettled), counters);
  options.progress.Report(kSettled);

  TokamaxPass pass;
  pass.options = options;
  if (computable) {
    pass.info.q_sequence =
        computable->q_sequence ? *computable->q_sequence : RowNumbers(mask.shape().q_len);
  }
  if (IsFull(grid)) return pass;
  if (computable) pass.mask_function = computable->function;

  const ActiveListInputs in{grid,
                            options.is_dkv,
                            options.return_dynamic_grid,
                            options.q_seq_shards,
                            options.kv_seq_shards,
                            options.downcast_smem_data,
                            partial.count()};
  ActiveLists lists = BuildActiveLists(in, options.progress);
  pass.info.mask_next = std::move(lists.mask_next);
  pass.info.active_rows = std::move(lists.active_rows);
  pass.info.active_cols = std::move(lists.active_cols);
  pass.info.block_mask = std::move(lists.block_mask);
  pass.info.num_active_blocks = std::move(lists.num_active_blocks);
  BlockStore::Taken blocks = partial.store().Take(partial.count());
  pass.info.partial_mask_blocks = std::move(options.is_dkv ? blocks.transpose : blocks.bits);
  return pass;
}

}  // namespace

TokamaxPass CompileTokamax(const Mask& mask, const TokamaxOptions& options, CompileStats* stats) {
  CheckOptions(mask.shape(), options);
  const Mask compiled = options.simplify ? Simplify(mask) : mask;
  TokamaxPass pass;
  Counters counters;
  RunWithThreads(options.threads, [&] { pass = CompilePass(compiled, options, counters); });
  options.progress.Report(1);
  if (stats != nullptr) {
    *stats = {counters.rectangles, counters.runs, counters.blocks_drawn, counters.cells};
  }
  return pass;
}

}  // namespace splashmask
