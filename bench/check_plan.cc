// SPDX-License-Identifier: Apache-2.0
#include "bench/check_plan.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "tests/support/naive_mask.h"

namespace splashmask {

namespace {

// What a pass says of one block of one head: its class, and which partial block it is.
struct Entry {
  uint8_t block_class = 0;
  int32_t partial_id = -1;
};

// The grid of one head, [q blocks, kv blocks], as the visible entries of its tables name them.
std::vector<Entry> ReadGrid(const Plan& plan, Pass pass, int64_t head) {
  const CompiledPass& compiled = *plan.pass(pass);
  const MaskInfo& info = compiled.info;
  const int64_t columns = plan.mask.shape().kv_len / compiled.block.kv;
  const int64_t rows = plan.mask.shape().q_len / compiled.block.q;
  const int64_t rows_a_shard = rows / plan.options.q_seq_shards;
  std::vector<Entry> grid(static_cast<size_t>(rows * columns));
  const auto& shape = info.block_mask->shape();
  const int64_t table_head = head * shape[0] / plan.mask.num_heads();
  for (int64_t row = 0; row < shape[1]; ++row) {
    for (int64_t column = 0; column < shape[2]; ++column) {
      const int32_t block_class = info.block_mask->At(table_head, row, column);
      if (block_class == 0) continue;
      const int64_t next = info.data_next->At(table_head, row, column);
      const int64_t at =
          pass == Pass::kDkv
              ? (row / (shape[1] / plan.options.q_seq_shards) * rows_a_shard + next) * columns +
                    column
              : row * columns + next;
      grid[at].block_class = static_cast<uint8_t>(block_class);
      if (block_class == 1 && info.mask_next) {
        grid[at].partial_id = info.mask_next->At(table_head, row, column);
      }
    }
  }
  return grid;
}

bool Bit(const PartialMaskBlocks& blocks, Pass pass, int32_t id, int64_t q, int64_t kv) {
  return pass == Pass::kDkv ? blocks.At(id, kv, q) : blocks.At(id, q, kv);
}

std::string CheckBlock(const Plan& plan, Pass pass, int64_t head, const Entry& entry, int64_t row,
                       int64_t column, std::mt19937_64& random) {
  const CompiledPass& compiled = *plan.pass(pass);
  constexpr int kCells = 96;
  for (int i = 0; i < kCells; ++i) {
    const auto r = static_cast<int64_t>(random() % static_cast<uint64_t>(compiled.block.q));
    const auto c = static_cast<int64_t>(random() % static_cast<uint64_t>(compiled.block.kv));
    const int64_t q = row * compiled.block.q + r, kv = column * compiled.block.kv + c;
    const bool expected = NaiveAt(plan.mask.masks()[head], q, kv);
    bool got = entry.block_class == 2;
    if (entry.block_class == 1) {
      if (entry.partial_id < 0) continue;  // The kernel computes it.
      got = Bit(*compiled.info.partial_mask_blocks, pass, entry.partial_id, r, c);
    }
    if (got != expected) {
      return fmt::format("{}: expected {} at ({}, {}) of head {}", PassName(pass), expected, q, kv,
                         head);
    }
  }
  return "";
}

std::vector<int64_t> PairsOfBlocks(const std::optional<PartialMaskBlocks>& blocks) {
  std::vector<int64_t> pairs;
  for (int64_t id = 0; blocks && id < blocks->count(); ++id) {
    int64_t bits = 0;
    for (int64_t at = 0; at < blocks->block_bytes(); at += 8) {
      uint64_t word = 0;
      std::memcpy(&word, blocks->block(id) + at, sizeof(word));
      bits += std::popcount(word);
    }
    pairs.push_back(bits);
  }
  return pairs;
}

// The pairs of random block rows.
std::string CheckRows(const Plan& plan, Pass pass, int64_t head, const std::vector<Entry>& grid,
                      const std::vector<int64_t>& pairs_of_id, std::mt19937_64& random) {
  const CompiledPass& compiled = *plan.pass(pass);
  if (compiled.mask_function) return "";  // The kernel knows what partial blocks hold.
  const Shape shape = plan.mask.shape();
  const int64_t rows = shape.q_len / compiled.block.q, columns = shape.kv_len / compiled.block.kv;
  constexpr int kRows = 6;
  for (int i = 0; i < kRows; ++i) {
    const auto row = static_cast<int64_t>(random() % static_cast<uint64_t>(rows));
    int64_t pairs = 0;
    for (int64_t column = 0; column < columns; ++column) {
      const Entry& entry = grid[row * columns + column];
      if (entry.block_class == 2) pairs += compiled.block.q * compiled.block.kv;
      if (entry.partial_id >= 0) pairs += pairs_of_id[entry.partial_id];
    }
    const PairRectangle where{row * compiled.block.q, (row + 1) * compiled.block.q, 0,
                              shape.kv_len};
    const int64_t expected = CountPairs(MultiHeadMask(plan.mask.masks()[head], 1), where).front();
    if (pairs != expected) {
      return fmt::format("{}: expected {} pairs in block row {} of head {}, got {}", PassName(pass),
                         expected, row, head, pairs);
    }
  }
  return "";
}

}  // namespace

std::string CheckSamples(const Plan& plan, int64_t blocks_of_each_class) {
  std::mt19937_64 random(7);
  for (Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    const CompiledPass& compiled = *plan.pass(pass);
    const int64_t columns = plan.mask.shape().kv_len / compiled.block.kv;
    const std::vector<int64_t> pairs_of_id = PairsOfBlocks(compiled.info.partial_mask_blocks);
    for (int64_t head = 0; head < plan.mask.num_heads(); ++head) {
      const std::vector<Entry> grid = ReadGrid(plan, pass, head);
      std::string wrong = CheckRows(plan, pass, head, grid, pairs_of_id, random);
      std::vector<int64_t> of_class[3];
      for (size_t i = 0; i < grid.size(); ++i) {
        of_class[grid[i].block_class].push_back(static_cast<int64_t>(i));
      }
      for (const std::vector<int64_t>& blocks : of_class) {
        for (int64_t i = 0; i < blocks_of_each_class && !blocks.empty() && wrong.empty(); ++i) {
          const int64_t at = blocks[random() % blocks.size()];
          wrong = CheckBlock(plan, pass, head, grid[at], at / columns, at % columns, random);
        }
      }
      if (!wrong.empty()) return wrong;
    }
  }
  return "";
}

std::string CheckEveryCell(const Plan& plan) {
  const Certificate certificate = Certify(plan);
  return certificate.mismatch ? certificate.mismatch->ToString() : "";
}

}  // namespace splashmask
