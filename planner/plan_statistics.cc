// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/plan_statistics.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

[[noreturn]] void ThrowDamaged(Pass pass, const std::string& detail) {
  throw Error(ErrorCode::kDamaged, fmt::format("[statistics] {}: {}", PassName(pass), detail));
}

[[noreturn]] void ThrowAbsent(const Plan& plan, const std::string& path) {
  const std::vector<std::string> paths = PassPaths(plan);
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[statistics] expected a plan with the pass {}, got one with {}", path,
                          paths.empty() ? "none" : fmt::to_string(fmt::join(paths, ", "))));
}

/// How many blocks a grid has; refuses what no 64 bits count.
int64_t CountGrid(int64_t q_blocks, int64_t kv_blocks) {
  const ByteCount blocks = static_cast<ByteCount>(q_blocks) * static_cast<ByteCount>(kv_blocks);
  if (blocks <= std::numeric_limits<int64_t>::max()) return static_cast<int64_t>(blocks);
  throw Error(ErrorCode::kTooLarge,
              fmt::format("[statistics] expected blocks that 64 bits count, got {} x {}", q_blocks,
                          kv_blocks));
}

/// An empty grid; refuses what does not fit in memory.
BlockClassGrid MakeGrid(int64_t q_blocks, int64_t kv_blocks) {
  const int64_t blocks = CountGrid(q_blocks, kv_blocks);
  if (!FitsInMemory(static_cast<ByteCount>(blocks))) {
    throw Error(
        ErrorCode::kTooLarge,
        fmt::format("[statistics] expected a grid of blocks that fits in memory, got {} x {}",
                    q_blocks, kv_blocks));
  }
  return {q_blocks, kv_blocks,
          std::vector<BlockClass>(static_cast<size_t>(blocks), BlockClass::kEmpty)};
}

void CheckHead(const Plan& plan, int64_t head) {
  if (head >= 0 && head < plan.mask.num_heads()) return;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[statistics] expected a head in 0..{}, got {}",
                          plan.mask.num_heads() - 1, head));
}

/// The tables of one pass, checked to be of a shape that this plan can have.
struct PassTables {
  const Table* block_mask = nullptr;
  const Table* data_next = nullptr;
  int64_t q_blocks = 0, kv_blocks = 0;
  int64_t num_heads = 0;
  int64_t q_blocks_per_shard = 0;
  int64_t rows_per_shard = 0;  ///< Table rows of one q shard; for dkv a shrunk height.

  PassTables(const Plan& plan, Pass pass);

  /// The first index of the tables for a head: they hold one entry for each head, or for each
  /// shard.
  int64_t Leading(int64_t head) const { return head / (num_heads / block_mask->shape()[0]); }
};

PassTables::PassTables(const Plan& plan, Pass pass) {
  const auto& compiled = plan.pass(pass);
  if (!compiled) ThrowAbsent(plan, std::string(PassName(pass)));
  const Shape shape = plan.mask.shape();
  const BlockShape block = compiled->block;
  if (block.q < 1 || block.kv < 1 || shape.q_len % block.q != 0 || shape.kv_len % block.kv != 0) {
    ThrowDamaged(pass, fmt::format("expected blocks that divide {} x {}, got {} x {}", shape.q_len,
                                   shape.kv_len, block.q, block.kv));
  }
  if (!compiled->info.block_mask || !compiled->info.data_next) {
    ThrowDamaged(pass, "expected block_mask and data_next, got a plan without");
  }
  block_mask = &*compiled->info.block_mask;
  data_next = &*compiled->info.data_next;
  q_blocks = shape.q_len / block.q;
  kv_blocks = shape.kv_len / block.kv;
  num_heads = plan.mask.num_heads();

  const auto [heads, rows, columns] = block_mask->shape();
  const int64_t shards = std::max<int64_t>(plan.options.q_seq_shards, 1);
  const bool is_dkv = pass == Pass::kDkv;
  const bool fits = heads >= 1 && num_heads % heads == 0 && q_blocks % shards == 0 &&
                    rows % shards == 0 && (is_dkv ? rows <= q_blocks : rows == q_blocks) &&
                    (is_dkv ? columns == kv_blocks : columns <= kv_blocks);
  if (!fits || data_next->shape() != block_mask->shape()) {
    ThrowDamaged(pass,
                 fmt::format("expected tables for {} heads of {} x {} blocks, got block_mask "
                             "[{}] and data_next [{}]",
                             num_heads, q_blocks, kv_blocks, fmt::join(block_mask->shape(), ", "),
                             fmt::join(data_next->shape(), ", ")));
  }
  q_blocks_per_shard = q_blocks / shards;
  rows_per_shard = rows / shards;
}

}  // namespace

BlockCounts& BlockCounts::operator+=(const BlockCounts& other) {
  empty += other.empty;
  partial += other.partial;
  full += other.full;
  return *this;
}

std::vector<BlockCounts> CountBlocks(const Plan& plan, Pass pass) {
  const PassTables tables(plan, pass);
  const int64_t entries = tables.block_mask->shape()[1] * tables.block_mask->shape()[2];
  std::vector<BlockCounts> by_leading(static_cast<size_t>(tables.block_mask->shape()[0]));
  for (size_t leading = 0; leading < by_leading.size(); ++leading) {
    BlockCounts& counts = by_leading[leading];
    for (int64_t entry = 0; entry < entries; ++entry) {
      const int32_t value = tables.block_mask->At(static_cast<int64_t>(leading) * entries + entry);
      if (value < 0 || value > 2) {
        ThrowDamaged(pass, fmt::format("expected 0, 1 or 2 in block_mask, got {}", value));
      }
      counts.partial += value == 1;
      counts.full += value == 2;
    }
    counts.empty = CountGrid(tables.q_blocks, tables.kv_blocks) - counts.visited();
    if (counts.empty < 0) ThrowDamaged(pass, "expected each block once in block_mask");
  }
  std::vector<BlockCounts> by_head;
  by_head.reserve(static_cast<size_t>(tables.num_heads));
  for (int64_t head = 0; head < tables.num_heads; ++head) {
    by_head.push_back(by_leading[static_cast<size_t>(tables.Leading(head))]);
  }
  return by_head;
}

BlockClassGrid LayOutBlocks(const Plan& plan, Pass pass, int64_t head) {
  const PassTables tables(plan, pass);
  CheckHead(plan, head);
  BlockClassGrid grid = MakeGrid(tables.q_blocks, tables.kv_blocks);
  const int64_t leading = tables.Leading(head);
  for (int64_t row = 0; row < tables.block_mask->shape()[1]; ++row) {
    for (int64_t column = 0; column < tables.block_mask->shape()[2]; ++column) {
      const int32_t value = tables.block_mask->At(leading, row, column);
      if (value == 0) continue;
      const int32_t next = tables.data_next->At(leading, row, column);
      const bool is_dkv = pass == Pass::kDkv;
      // Entries of visited blocks name the block itself: its kv block, or for dkv its q block,
      // counted from the start of the q shard.
      const int64_t limit = is_dkv ? tables.q_blocks_per_shard : tables.kv_blocks;
      if (value < 0 || value > 2 || next < 0 || next >= limit) {
        ThrowDamaged(pass, fmt::format("expected a class of 0..2 and a block of 0..{} at [{}, {}, "
                                       "{}], got class {} and block {}",
                                       limit - 1, leading, row, column, value, next));
      }
      const int64_t q_block =
          is_dkv ? row / tables.rows_per_shard * tables.q_blocks_per_shard + next : row;
      const int64_t kv_block = is_dkv ? column : next;
      grid.classes[static_cast<size_t>(q_block * grid.kv_blocks + kv_block)] =
          static_cast<BlockClass>(value);
    }
  }
  return grid;
}

namespace {

/// The lists of one pass in tokamax's dialect, checked to be such as this plan can have.
struct TokamaxLists {
  const TokamaxPassOptions& options;
  const TokamaxMaskInfo& info;
  Pass pass;
  int64_t q_blocks = 0, kv_blocks = 0, shards = 0;

  TokamaxLists(const Plan& plan, Pass which);

  void Require(bool holds, const char* what) const {
    if (!holds) ThrowDamaged(pass, fmt::format("expected {} in tokamax's lists", what));
  }
  bool names_blocks() const { return info.active_rows && info.active_cols; }

  /// Calls visit(shard, number in the shard, index in the lists, class) for all but padding.
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    const Array& classes = *info.block_mask;
    const int64_t longest = classes.size() / shards;
    for (int64_t i = 0; i < classes.size(); ++i) {
      const int64_t value = classes.At(i);
      if (value == -1) continue;
      Require(value >= 0 && value <= 2, "a class of -1..2");
      visit(i / longest, i % longest, i, static_cast<BlockClass>(value));
    }
  }
};

const TokamaxPass& RequireTokamax(const Plan& plan, Pass pass) {
  if (!plan.tokamax_pass(pass)) ThrowAbsent(plan, TokamaxPassPath(pass));
  return *plan.tokamax_pass(pass);
}

TokamaxLists::TokamaxLists(const Plan& plan, Pass which)
    : options(RequireTokamax(plan, which).options),
      info(plan.tokamax_pass(which)->info),
      pass(which) {
  const Shape shape = plan.mask.shape();
  const auto divide = [](int64_t length, int64_t count, int64_t block) {
    return count >= 1 && block >= 1 && length % count == 0 && length / count % block == 0;
  };
  Require(divide(shape.q_len, options.q_seq_shards, options.block.q) &&
              divide(shape.kv_len, options.kv_seq_shards, options.block.kv),
          "shards and blocks that divide the mask");
  q_blocks = shape.q_len / options.block.q;
  kv_blocks = shape.kv_len / options.block.kv;
  const int64_t blocks = CountGrid(q_blocks, kv_blocks);
  shards = options.q_seq_shards * options.kv_seq_shards;  // No more than there are blocks.
  if (!info.block_mask) {
    Require(!info.active_rows && !info.active_cols && !info.num_active_blocks && !info.mask_next,
            "no other list without block_mask");
    return;
  }
  const int64_t size = info.block_mask->size();
  Require(size % shards == 0 &&
              (names_blocks() ? info.active_rows->size() == size && info.active_cols->size() == size
                              : size == blocks),
          "an entry for every visit");
  if (!info.num_active_blocks) return;
  std::vector<int64_t> visits(static_cast<size_t>(shards));
  ForEach(
      [&](int64_t shard, int64_t, int64_t, BlockClass) { ++visits[static_cast<size_t>(shard)]; });
  Require(info.num_active_blocks->ToInt64() == visits, "as many visits as num_active_blocks says");
}

}  // namespace

BlockCounts CountTokamaxBlocks(const Plan& plan, Pass pass) {
  const TokamaxLists lists(plan, pass);
  const int64_t blocks = CountGrid(lists.q_blocks, lists.kv_blocks);
  if (!lists.info.block_mask) return {0, 0, blocks};
  BlockCounts counts;
  lists.ForEach([&](int64_t, int64_t, int64_t, BlockClass block_class) {
    counts.partial += block_class == BlockClass::kPartial;
    counts.full += block_class == BlockClass::kFull;
  });
  counts.empty = blocks - counts.visited();
  lists.Require(counts.empty >= 0, "each block once");
  return counts;
}

BlockClassGrid LayOutTokamaxBlocks(const Plan& plan, Pass pass) {
  const TokamaxLists lists(plan, pass);
  BlockClassGrid grid = MakeGrid(lists.q_blocks, lists.kv_blocks);
  if (!lists.info.block_mask) {
    std::ranges::fill(grid.classes, BlockClass::kFull);
    return grid;
  }
  // Rows and columns of a shard's grid, which dkv has transposed.
  const bool is_dkv = pass == Pass::kDkv;
  const int64_t q_size = grid.q_blocks / lists.options.q_seq_shards;
  const int64_t kv_size = grid.kv_blocks / lists.options.kv_seq_shards;
  const int64_t rows = is_dkv ? kv_size : q_size, columns = is_dkv ? q_size : kv_size;
  lists.ForEach([&](int64_t shard, int64_t visit, int64_t i, BlockClass block_class) {
    const int64_t row = lists.names_blocks() ? lists.info.active_rows->At(i) : visit / columns;
    const int64_t column = lists.names_blocks() ? lists.info.active_cols->At(i) : visit % columns;
    lists.Require(row >= 0 && row < rows && column >= 0 && column < columns, "blocks of the shard");
    const int64_t q = shard / lists.options.kv_seq_shards * q_size + (is_dkv ? column : row);
    const int64_t kv = shard % lists.options.kv_seq_shards * kv_size + (is_dkv ? row : column);
    BlockClass& there = grid.classes[static_cast<size_t>(q * grid.kv_blocks + kv)];
    lists.Require(there == BlockClass::kEmpty, "each block once");
    there = block_class;
  });
  return grid;
}

PassGrid LayOutBlocks(const Plan& plan, std::optional<std::string> named, int64_t head) {
  if (!named) {
    const std::vector<std::string> paths = PassPaths(plan);
    if (paths.empty()) ThrowAbsent(plan, std::string(PassName(Pass::kFwd)));
    named = paths.front();
  }
  std::string& path = *named;
  for (const Pass pass : kAllPasses) {
    if (path != PassName(pass)) continue;
    BlockClassGrid grid = LayOutBlocks(plan, pass, head);
    return {std::move(path), plan.pass(pass)->block, std::move(grid)};
  }
  for (const Pass pass : kTokamaxPasses) {
    if (path != TokamaxPassPath(pass)) continue;
    CheckHead(plan, head);
    BlockClassGrid grid = LayOutTokamaxBlocks(plan, pass);
    return {std::move(path), plan.tokamax_pass(pass)->options.block, std::move(grid)};
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[statistics] expected a pass fwd, dq, dkv, tokamax/fwd or tokamax/dkv, "
                          "got {}",
                          path));
}

BlockCounts CountBlocks(const BlockClassGrid& grid) {
  BlockCounts counts;
  for (const BlockClass block : grid.classes) {
    counts.empty += block == BlockClass::kEmpty;
    counts.partial += block == BlockClass::kPartial;
    counts.full += block == BlockClass::kFull;
  }
  return counts;
}

}  // namespace splashmask
