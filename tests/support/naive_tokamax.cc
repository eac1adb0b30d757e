// SPDX-License-Identifier: Apache-2.0
#include "tests/support/naive_tokamax.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "splashmask/masks/node.h"
#include "splashmask/masks/simplify.h"
#include "tests/support/naive_mask.h"

namespace splashmask {

namespace {

using Cells = std::vector<uint8_t>;  // Of one block, row by row.

bool KernelComputes(const Mask& mask) {
  return std::visit(
      Overloaded{[](const node::Causal&) { return true; }, [](const node::Local&) { return true; },
                 [](const node::ChunkedCausal&) { return true; },
                 [](const auto&) { return false; }},
      mask.node().expr);
}

Array ListOf(const std::vector<int32_t>& values, bool downcast) {
  const int32_t largest = values.empty() ? INT32_MAX : *std::ranges::max_element(values);
  if (!downcast || largest > 32767) return Array::FromVector(values);
  const bool one_byte = largest <= 127;
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  for (const int32_t value : values) {
    bytes->push_back(static_cast<uint8_t>(value & 255));
    if (!one_byte) bytes->push_back(static_cast<uint8_t>(value >> 8 & 255));
  }
  return Array(one_byte ? DType::kInt8 : DType::kInt16, {static_cast<int64_t>(values.size())},
               std::shared_ptr<const void>(bytes, bytes->data()));
}

// One visit of the kernel: where in the shard's (for dkv, transposed) grid, and what is there.
struct Visit {
  int32_t row, column, block_class, partial_id;
};

class Reference {
 public:
  Reference(const Mask& mask, const TokamaxOptions& options) : options_(options) {
    const Shape shape = mask.shape();
    q_blocks_ = shape.q_len / options.block.q;
    kv_blocks_ = shape.kv_len / options.block.kv;
    const std::vector<uint8_t> cells = NaiveCells(mask);
    for (int64_t i = 0; i < q_blocks_ * kv_blocks_; ++i) {
      Cells block;
      for (int64_t r = 0; r < options.block.q; ++r) {
        for (int64_t c = 0; c < options.block.kv; ++c) {
          const int64_t q = i / kv_blocks_ * options.block.q + r;
          block.push_back(cells[q * shape.kv_len + i % kv_blocks_ * options.block.kv + c]);
        }
      }
      Classify(block);
    }
  }

  bool AllFull() const {
    return std::ranges::all_of(classes_, [](int32_t found) { return found == 2; });
  }

  std::vector<Visit> VisitsOf(int64_t q_shard, int64_t kv_shard) const {
    const int64_t q_size = q_blocks_ / options_.q_seq_shards;
    const int64_t kv_size = kv_blocks_ / options_.kv_seq_shards;
    const bool dkv = options_.is_dkv;
    std::vector<Visit> visits;
    for (int64_t row = 0; row < (dkv ? kv_size : q_size); ++row) {
      std::vector<Visit> visible;
      for (int64_t column = 0; column < (dkv ? q_size : kv_size); ++column) {
        const int64_t q = q_shard * q_size + (dkv ? column : row);
        const int64_t kv = kv_shard * kv_size + (dkv ? row : column);
        const int64_t block = q * kv_blocks_ + kv;
        if (options_.return_dynamic_grid && classes_[block] == 0) continue;
        visible.push_back({static_cast<int32_t>(row), static_cast<int32_t>(column), classes_[block],
                           ids_[block]});
      }
      if (visible.empty() && dkv) visible.push_back({static_cast<int32_t>(row), 0, 0, -1});
      visits.insert(visits.end(), visible.begin(), visible.end());
    }
    return visits;
  }

  const std::vector<Cells>& partial_blocks() const { return partial_blocks_; }

  PartialMaskBlocks StackedBlocks() const {
    const bool dkv = options_.is_dkv;
    const BlockShape block = options_.block;
    PartialMaskBlocks stacked({static_cast<int64_t>(partial_blocks_.size())},
                              dkv ? block.kv : block.q, dkv ? block.q : block.kv);
    std::memset(stacked.data(), 0, static_cast<size_t>(stacked.size_bytes()));
    for (size_t id = 0; id < partial_blocks_.size(); ++id) {
      for (int64_t r = 0; r < block.q; ++r) {
        for (int64_t c = 0; c < block.kv; ++c) {
          if (partial_blocks_[id][r * block.kv + c] == 0) continue;
          stacked.Flip(static_cast<int64_t>(id), dkv ? c : r, dkv ? r : c);
        }
      }
    }
    return stacked;
  }

 private:
  void Classify(const Cells& block) {
    const auto seen = std::ranges::count(block, uint8_t{1});
    ids_.push_back(-1);
    classes_.push_back(seen == 0 ? 0 : seen == std::ssize(block) ? 2 : 1);
    if (classes_.back() != 1) return;
    const auto found = std::ranges::find(partial_blocks_, block);
    ids_.back() = static_cast<int32_t>(found - partial_blocks_.begin());
    if (found == partial_blocks_.end()) partial_blocks_.push_back(block);
  }

  const TokamaxOptions& options_;
  int64_t q_blocks_, kv_blocks_;
  std::vector<int32_t> classes_, ids_;
  std::vector<Cells> partial_blocks_;
};

// The first partial block among the visits [i, end), else the first of all.
int32_t MaskNext(const std::vector<Visit>& visits, size_t i) {
  for (size_t step = 0; step < 2 * visits.size(); ++step) {
    const size_t j = i + step < visits.size() ? i + step : step - (visits.size() - i);
    if (j < visits.size() && visits[j].partial_id >= 0) return visits[j].partial_id;
  }
  return -1;
}

}  // namespace

TokamaxPass NaiveTokamax(const Mask& mask, const TokamaxOptions& options) {
  TokamaxPass pass;
  pass.options = options;
  const Mask simple = options.simplify ? Simplify(mask) : mask;
  const auto* reorder = std::get_if<node::Reorder>(&simple.node().expr);
  if (reorder != nullptr && reorder->kv) reorder = nullptr;
  const Mask function = reorder == nullptr ? simple : reorder->mask;
  const bool computable =
      KernelComputes(function) ||
      (options.simplify &&
       IsPositionalText(function,
                        reorder == nullptr ? std::nullopt : std::optional(reorder->q->positions)));
  if (computable && reorder != nullptr) {
    pass.info.q_sequence = reorder->q->positions;
  } else if (computable) {
    std::vector<int32_t> rows(static_cast<size_t>(mask.shape().q_len));
    std::iota(rows.begin(), rows.end(), 0);
    pass.info.q_sequence = Array::FromVector(rows);
  }
  const Reference reference(mask, options);
  if (reference.AllFull()) return pass;
  if (computable) pass.mask_function = function;

  std::vector<std::vector<Visit>> shards;
  for (int64_t q_shard = 0; q_shard < options.q_seq_shards; ++q_shard) {
    for (int64_t kv_shard = 0; kv_shard < options.kv_seq_shards; ++kv_shard) {
      shards.push_back(reference.VisitsOf(q_shard, kv_shard));
    }
  }
  size_t longest = 0;
  for (const auto& visits : shards) longest = std::max(longest, visits.size());
  std::vector<int32_t> rows, columns, classes, mask_next, counts;
  for (const auto& visits : shards) {
    for (size_t i = 0; i < longest; ++i) {
      const bool padding = i >= visits.size();
      rows.push_back(padding ? -1 : visits[i].row);
      columns.push_back(padding ? -1 : visits[i].column);
      classes.push_back(padding ? -1 : visits[i].block_class);
      mask_next.push_back(padding ? -1 : MaskNext(visits, i));
    }
    counts.push_back(static_cast<int32_t>(visits.size()));
  }
  pass.info.block_mask = ListOf(classes, options.downcast_smem_data);
  if (options.return_dynamic_grid) {
    pass.info.active_rows = ListOf(rows, options.downcast_smem_data);
    pass.info.active_cols = ListOf(columns, options.downcast_smem_data);
    pass.info.num_active_blocks = Array::FromVector(counts);
  }
  if (!computable && !reference.partial_blocks().empty()) {
    pass.info.mask_next = ListOf(mask_next, options.downcast_smem_data);
    pass.info.partial_mask_blocks = reference.StackedBlocks();
  }
  return pass;
}

}  // namespace splashmask
