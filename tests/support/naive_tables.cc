// SPDX-License-Identifier: Apache-2.0
#include "tests/support/naive_tables.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "splashmask/masks/node.h"
#include "splashmask/masks/print.h"
#include "splashmask/masks/simplify.h"
#include "tests/support/naive_mask.h"

namespace splashmask {

namespace {

// int[heads or shards][rows][columns].
using Grid = std::vector<std::vector<std::vector<int32_t>>>;
using Coords = std::array<int64_t, 3>;
using Bits = std::string;  // One '0' or '1' for each cell.

Grid Zeros(int64_t heads, int64_t rows, int64_t columns) {
  return Grid(heads, std::vector<std::vector<int32_t>>(rows, std::vector<int32_t>(columns, 0)));
}

bool IsComputableLeaf(const Mask& mask) {
  return std::holds_alternative<node::Causal>(mask.node().expr) ||
         std::holds_alternative<node::Local>(mask.node().expr) ||
         std::holds_alternative<node::ChunkedCausal>(mask.node().expr);
}

// Whether JAX takes two heads for one: the same expression, with q positions equal in value and in
// bytes (a mask without a reordering has those of its rows, int32).
bool SameHead(const Mask& a, const Mask& b) {
  const auto* a_order = std::get_if<node::Reorder>(&a.node().expr);
  const auto* b_order = std::get_if<node::Reorder>(&b.node().expr);
  if (a_order != nullptr || b_order != nullptr) {
    const auto q_of = [](const node::Reorder* n) {
      return n != nullptr && n->q ? &*n->q : nullptr;
    };
    const auto kv_of = [](const node::Reorder* n) {
      return n != nullptr && n->kv ? &*n->kv : nullptr;
    };
    const auto size = [](const node::Order* n) {
      return n == nullptr ? 4 : DTypeSize(n->positions.dtype());
    };
    const auto position = [](const node::Order* n, int64_t i) {
      return n == nullptr ? i : n->positions.At(i);
    };
    const Shape shape = a.shape();
    if (shape != b.shape() || size(q_of(a_order)) != size(q_of(b_order))) return false;
    for (int64_t row = 0; row < shape.q_len; ++row) {
      if (position(q_of(a_order), row) != position(q_of(b_order), row)) return false;
    }
    for (int64_t column = 0; column < shape.kv_len; ++column) {
      if (position(kv_of(a_order), column) != position(kv_of(b_order), column)) return false;
    }
    return SameHead(a_order == nullptr ? a : a_order->mask, b_order == nullptr ? b : b_order->mask);
  }
  const auto* a_not = std::get_if<node::Not>(&a.node().expr);
  const auto* b_not = std::get_if<node::Not>(&b.node().expr);
  if (a_not != nullptr && b_not != nullptr) return SameHead(a_not->mask, b_not->mask);
  const auto* a_two = std::get_if<node::Binary>(&a.node().expr);
  const auto* b_two = std::get_if<node::Binary>(&b.node().expr);
  if (a_two != nullptr && b_two != nullptr) {
    return a_two->op == b_two->op && SameHead(a_two->left, b_two->left) &&
           SameHead(a_two->right, b_two->right);
  }
  return a == b;
}

DType SmallestType(const Grid& grid) {
  int32_t largest = 0;
  for (const auto& head : grid) {
    for (const auto& row : head)
      largest = std::max(largest, *std::max_element(row.begin(), row.end()));
  }
  return largest <= 127 ? DType::kInt8 : largest <= 32767 ? DType::kInt16 : DType::kInt32;
}

Table ToTable(const Grid& grid, bool downcast) {
  const int64_t heads = grid.size(), rows = grid[0].size(), columns = grid[0][0].size();
  Table table(downcast ? SmallestType(grid) : DType::kInt32, {heads, rows, columns});
  int64_t index = 0;
  for (const auto& head : grid) {
    for (const auto& row : head) {
      for (int32_t value : row) table.Set(index++, value);
    }
  }
  return table;
}

// Everything that one call of JAX's _process_mask keeps in local variables.
class NaivePassBuilder {
 public:
  NaivePassBuilder(const MultiHeadMask& mask, BlockShape block, bool is_dkv,
                   const PlanOptions& options, bool shrink)
      : original_(mask),
        mask_(options.simplify ? Simplify(mask) : mask),
        block_(block),
        is_dkv_(is_dkv),
        options_(options),
        shrink_(shrink) {
    q_blocks_ = mask.shape().q_len / block.q;
    kv_blocks_ = mask.shape().kv_len / block.kv;
    heads_per_shard_ = mask.num_heads() / options.head_shards;
  }

  CompiledPass Build() {
    UniquifyHeads();
    ClassifyBlocks();
    FindNextBlocks();
    if (shrink_ && masks_.size() == 1) Shrink();

    CompiledPass pass;
    pass.block = block_;
    pass.info.block_mask = ToTable(block_mask_, options_.downcast_smem_data);
    pass.info.data_next = ToTable(data_next_, options_.downcast_smem_data);
    if (SetMaskFunction(&pass)) return pass;
    if (!partial_blocks_.empty()) {
      pass.info.mask_next = ToTable(mask_next_, options_.downcast_smem_data);
      pass.info.partial_mask_blocks = PackPartialBlocks();
    }
    return pass;
  }

 private:
  void UniquifyHeads() {
    for (int64_t head = 0; head < mask_.num_heads(); ++head) {
      const Mask& head_mask = mask_.masks()[head];
      auto found = std::find_if(masks_.begin(), masks_.end(),
                                [&](const Mask& seen) { return SameHead(seen, head_mask); });
      mask_of_head_.push_back(found - masks_.begin());
      if (found == masks_.end()) {
        masks_.push_back(head_mask);
        cells_.push_back(NaiveCells(original_.masks()[head]));
      }
    }
    per_head_ = false;
    for (int64_t shard = 0; shard < options_.head_shards; ++shard) {
      const auto begin = mask_of_head_.begin() + shard * heads_per_shard_;
      per_head_ |= std::set<int64_t>(begin, begin + heads_per_shard_).size() > 1;
    }
    table_heads_ = per_head_ ? mask_.num_heads() : options_.head_shards;
  }

  int64_t MaskOfTableHead(int64_t table_head) const {
    return mask_of_head_[per_head_ ? table_head : table_head * heads_per_shard_];
  }

  Bits BlockBits(int64_t mask, int64_t q_block, int64_t kv_block) const {
    Bits bits;
    for (int64_t q = q_block * block_.q; q < (q_block + 1) * block_.q; ++q) {
      for (int64_t kv = kv_block * block_.kv; kv < (kv_block + 1) * block_.kv; ++kv) {
        bits.push_back(cells_[mask][q * mask_.shape().kv_len + kv] ? '1' : '0');
      }
    }
    return bits;
  }

  void ClassifyBlocks() {
    std::map<Bits, int32_t> ids;
    Grid classes = Zeros(masks_.size(), q_blocks_, kv_blocks_);
    for (int64_t mask = 0; mask < std::ssize(masks_); ++mask) {
      for (int64_t i = 0; i < q_blocks_; ++i) {
        for (int64_t j = 0; j < kv_blocks_; ++j) {
          Bits bits = BlockBits(mask, i, j);
          const bool any = bits.find('1') != Bits::npos;
          const bool all = bits.find('0') == Bits::npos;
          classes[mask][i][j] = all ? 2 : any ? 1 : 0;
          if (classes[mask][i][j] != 1) continue;
          const auto [found, is_new] = ids.try_emplace(bits, static_cast<int32_t>(ids.size()));
          if (is_new) partial_blocks_.push_back(std::move(bits));
          partial_id_[{mask, i, j}] = found->second;
        }
      }
    }
    block_mask_.clear();
    for (int64_t head = 0; head < table_heads_; ++head) {
      block_mask_.push_back(classes[MaskOfTableHead(head)]);
    }
  }

  // The grid steps of one head shard and one q shard in the order in which the kernel takes them,
  // as (table head, q block, kv block).
  std::vector<Coords> StepsOfShard(int64_t head_shard, int64_t q_shard) const {
    const int64_t heads = per_head_ ? heads_per_shard_ : 1;
    const int64_t q_blocks = q_blocks_ / options_.q_seq_shards;
    std::vector<Coords> steps;
    if (is_dkv_) {
      for (int64_t kv = 0; kv < kv_blocks_; ++kv) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t q = 0; q < q_blocks; ++q) {
            steps.push_back({head_shard * heads + h, q_shard * q_blocks + q, kv});
          }
        }
      }
    } else {
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t q = 0; q < q_blocks; ++q) {
          for (int64_t kv = 0; kv < kv_blocks_; ++kv) {
            steps.push_back({head_shard * heads + h, q_shard * q_blocks + q, kv});
          }
        }
      }
    }
    return steps;
  }

  int32_t ClassAt(const Coords& at) const { return block_mask_[at[0]][at[1]][at[2]]; }

  // The first step at or after `from`, wrapping around, for which `wanted` holds.
  template <typename Wanted>
  static const Coords* NextStep(const std::vector<Coords>& steps, size_t from, Wanted wanted) {
    for (size_t k = 0; k < steps.size(); ++k) {
      const Coords& step = steps[(from + k) % steps.size()];
      if (wanted(step)) return &step;
    }
    return nullptr;
  }

  void FindNextBlocks() {
    data_next_ = mask_next_ = Zeros(table_heads_, q_blocks_, kv_blocks_);
    const int64_t q_blocks_per_shard = q_blocks_ / options_.q_seq_shards;
    for (int64_t head_shard = 0; head_shard < options_.head_shards; ++head_shard) {
      for (int64_t q_shard = 0; q_shard < options_.q_seq_shards; ++q_shard) {
        const std::vector<Coords> steps = StepsOfShard(head_shard, q_shard);
        for (size_t s = 0; s < steps.size(); ++s) {
          const auto [h, i, j] = steps[s];
          if (const Coords* next = NextStep(steps, s, [&](auto& at) { return ClassAt(at) != 0; })) {
            data_next_[h][i][j] = static_cast<int32_t>(
                is_dkv_ ? (*next)[1] - q_shard * q_blocks_per_shard : (*next)[2]);
          }
          if (const Coords* next = NextStep(steps, s, [&](auto& at) { return ClassAt(at) == 1; })) {
            mask_next_[h][i][j] =
                partial_id_.at({MaskOfTableHead((*next)[0]), (*next)[1], (*next)[2]});
          }
        }
      }
    }
  }

  void Shrink() {
    const Grid classes = block_mask_;
    for (Grid* grid : {&block_mask_, &data_next_, &mask_next_}) {
      const bool repeat_edge = grid != &block_mask_;
      *grid = is_dkv_ ? ShrinkRows(*grid, classes, repeat_edge)
                      : ShrinkColumns(*grid, classes, repeat_edge);
    }
  }

  // fwd and dq: visible columns move left; zeros fill up to the widest row of the q shard, then the
  // edge (or zeros) up to the widest q shard.
  Grid ShrinkColumns(const Grid& grid, const Grid& classes, bool repeat_edge) const {
    const int64_t rows_per_shard = q_blocks_ / options_.q_seq_shards;
    Grid result = Zeros(table_heads_, q_blocks_, 0);
    size_t widest = 1;
    for (int64_t h = 0; h < table_heads_; ++h) {
      for (int64_t shard = 0; shard < options_.q_seq_shards; ++shard) {
        size_t width = 0;
        for (int64_t i = shard * rows_per_shard; i < (shard + 1) * rows_per_shard; ++i) {
          for (int64_t j = 0; j < kv_blocks_; ++j) {
            if (classes[h][i][j] != 0) result[h][i].push_back(grid[h][i][j]);
          }
          width = std::max(width, result[h][i].size());
        }
        for (int64_t i = shard * rows_per_shard; i < (shard + 1) * rows_per_shard; ++i) {
          result[h][i].resize(width, 0);
        }
        widest = std::max(widest, width);
      }
    }
    for (auto& head : result) {
      for (auto& row : head) row.resize(widest, repeat_edge && !row.empty() ? row.back() : 0);
    }
    return result;
  }

  // dkv: visible rows move down inside their q shard, zeros above them; then the edge (or zeros)
  // below, up to the tallest q shard.
  Grid ShrinkRows(const Grid& grid, const Grid& classes, bool repeat_edge) const {
    const int64_t shards = options_.q_seq_shards;
    const int64_t rows_per_shard = q_blocks_ / shards;
    // [table head][shard][kv block] -> the column of the shrunk shard, top to bottom.
    std::vector<std::vector<std::vector<std::vector<int32_t>>>> columns(
        table_heads_, std::vector<std::vector<std::vector<int32_t>>>(
                          shards, std::vector<std::vector<int32_t>>(kv_blocks_)));
    size_t tallest = 1;
    for (int64_t h = 0; h < table_heads_; ++h) {
      for (int64_t shard = 0; shard < shards; ++shard) {
        size_t height = 0;
        for (int64_t j = 0; j < kv_blocks_; ++j) {
          for (int64_t i = shard * rows_per_shard; i < (shard + 1) * rows_per_shard; ++i) {
            if (classes[h][i][j] != 0) columns[h][shard][j].push_back(grid[h][i][j]);
          }
          height = std::max(height, columns[h][shard][j].size());
        }
        for (auto& column : columns[h][shard]) {
          column.insert(column.begin(), height - column.size(), 0);
        }
        tallest = std::max(tallest, height);
      }
    }
    Grid result = Zeros(table_heads_, shards * tallest, kv_blocks_);
    for (int64_t h = 0; h < table_heads_; ++h) {
      for (int64_t shard = 0; shard < shards; ++shard) {
        for (int64_t j = 0; j < kv_blocks_; ++j) {
          auto& column = columns[h][shard][j];
          column.resize(tallest, repeat_edge && !column.empty() ? column.back() : 0);
          for (size_t i = 0; i < tallest; ++i) result[h][shard * tallest + i][j] = column[i];
        }
      }
    }
    return result;
  }

  bool SetMaskFunction(CompiledPass* pass) const {
    if (masks_.size() != 1) return false;
    const auto* reorder = std::get_if<node::Reorder>(&masks_[0].node().expr);
    if (reorder != nullptr && reorder->kv) return false;
    const Mask& leaf = reorder == nullptr ? masks_[0] : reorder->mask;
    if (!IsComputableLeaf(leaf) &&
        !(options_.simplify &&
          IsPositionalText(
              leaf, reorder == nullptr ? std::nullopt : std::optional(reorder->q->positions))))
      return false;
    pass->mask_function = leaf;
    if (reorder != nullptr) {
      pass->info.q_sequence = reorder->q->positions;
    } else {
      std::vector<int32_t> positions(mask_.shape().q_len);
      for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
      pass->info.q_sequence = Array::FromVector(positions);
    }
    return true;
  }

  PartialMaskBlocks PackPartialBlocks() const {
    const int64_t rows = is_dkv_ ? block_.kv : block_.q;
    const int64_t columns = is_dkv_ ? block_.q : block_.kv;
    PartialMaskBlocks packed({std::ssize(partial_blocks_)}, rows, columns);
    std::fill_n(packed.data(), packed.size_bytes(), std::byte{0});
    for (int64_t p = 0; p < std::ssize(partial_blocks_); ++p) {
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t column = 0; column < columns; ++column) {
          const int64_t cell = is_dkv_ ? column * block_.kv + row : row * block_.kv + column;
          if (partial_blocks_[p][cell] == '1') packed.Flip(p, row, column);
        }
      }
    }
    return packed;
  }

  // Simplified masks say which heads are alike and what the kernel computes; cells are the masks'.
  const MultiHeadMask& original_;
  const MultiHeadMask mask_;
  const BlockShape block_;
  const bool is_dkv_;
  const PlanOptions& options_;
  const bool shrink_;
  int64_t q_blocks_, kv_blocks_, heads_per_shard_;

  std::vector<Mask> masks_;                  // The distinct head masks, by first appearance.
  std::vector<std::vector<uint8_t>> cells_;  // Of each distinct mask.
  std::vector<int64_t> mask_of_head_;
  bool per_head_ = false;  // Tables have an entry for each head, not for each head shard.
  int64_t table_heads_ = 0;
  std::vector<Bits> partial_blocks_;
  std::map<Coords, int32_t> partial_id_;  // (distinct mask, q block, kv block) -> partial block.
  Grid block_mask_, data_next_, mask_next_;
};

}  // namespace

CompiledPass NaivePass(const MultiHeadMask& mask, BlockShape block, bool is_dkv,
                       const PlanOptions& options, bool shrink) {
  return NaivePassBuilder(mask, block, is_dkv, options, shrink).Build();
}

Plan NaivePlan(const MultiHeadMask& mask, const CompileOptions& options) {
  const PlanOptions& plan_options = options.plan;
  const bool shrink = plan_options.shrink_grid;
  Plan plan{mask, plan_options, {}, {}, {}};
  if (options.fwd) plan.fwd = NaivePass(mask, *options.fwd, false, plan_options, shrink);
  if (options.dq) plan.dq = NaivePass(mask, *options.dq, false, plan_options, shrink);
  if (options.dkv) {
    plan.dkv = NaivePass(mask, *options.dkv, true, plan_options,
                         shrink && !plan_options.use_fused_bwd_kernel);
  }
  return plan;
}

}  // namespace splashmask
