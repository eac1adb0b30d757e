// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/expected_tables.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace splashmask::certify {

namespace {

constexpr int32_t kPadSlot = -1;
constexpr int32_t EdgeSlot(int32_t slot) { return -2 - slot; }

// An (entry of the head axis, q block, kv block) of unshrunk tables.
struct Step {
  int64_t entry, q_block, kv_block;
};

int64_t TruthIndex(const TableInput& input, const Step& at) {
  const int64_t mask = input.heads.mask_of_entry[static_cast<size_t>(at.entry)];
  return input.truth.Index({mask, at.q_block, at.kv_block});
}

// Calls visit for each grid step of a shard, the last one first: fwd and dq walk (head, q, kv), dkv
// walks (kv, head, q).
template <typename Visit>
void WalkBackwards(const TableInput& input, int64_t head_shard, int64_t q_shard, Visit visit) {
  const int64_t heads = input.heads.entries_per_shard;
  const int64_t q_blocks = input.truth.q_blocks() / input.options.q_seq_shards;
  const int64_t kv_blocks = input.truth.kv_blocks();
  const int64_t h0 = head_shard * heads, q0 = q_shard * q_blocks;
  if (input.is_dkv) {
    for (int64_t kv = kv_blocks - 1; kv >= 0; --kv) {
      for (int64_t h = heads - 1; h >= 0; --h) {
        for (int64_t q = q_blocks - 1; q >= 0; --q) visit(Step{h0 + h, q0 + q, kv});
      }
    }
  } else {
    for (int64_t h = heads - 1; h >= 0; --h) {
      for (int64_t q = q_blocks - 1; q >= 0; --q) {
        for (int64_t kv = kv_blocks - 1; kv >= 0; --kv) visit(Step{h0 + h, q0 + q, kv});
      }
    }
  }
}

// An unshrunk table whose entries hold the value of the next wanted step, their own included,
// wrapping around at the end of the shard; 0 in a shard without any.
template <typename Wanted, typename Value>
std::vector<int32_t> NextValues(const TableInput& input, Wanted wanted, Value value) {
  const int64_t q_blocks = input.truth.q_blocks(), kv_blocks = input.truth.kv_blocks();
  std::vector<int32_t> next(static_cast<size_t>(input.heads.size() * q_blocks * kv_blocks));
  for (int64_t head_shard = 0; head_shard < input.options.head_shards; ++head_shard) {
    for (int64_t q_shard = 0; q_shard < input.options.q_seq_shards; ++q_shard) {
      std::optional<int32_t> following;
      WalkBackwards(input, head_shard, q_shard, [&](const Step& at) {
        if (wanted(at)) following = value(at);
      });
      if (!following) continue;
      // `following` is the first wanted step now, which is what comes after the last one.
      WalkBackwards(input, head_shard, q_shard, [&](const Step& at) {
        if (wanted(at)) following = value(at);
        next[static_cast<size_t>((at.entry * q_blocks + at.q_block) * kv_blocks + at.kv_block)] =
            *following;
      });
    }
  }
  return next;
}

// Calls value(entry, place) for each element of a table in C order.
template <typename Value>
std::vector<int32_t> FillTable(const TableInput& input, Value value) {
  std::vector<int32_t> table;
  table.reserve(
      static_cast<size_t>(input.heads.size() * input.layout.rows() * input.layout.columns()));
  for (int64_t entry = 0; entry < input.heads.size(); ++entry) {
    for (int64_t row = 0; row < input.layout.rows(); ++row) {
      for (int64_t column = 0; column < input.layout.columns(); ++column) {
        table.push_back(value(entry, input.layout.At(row, column)));
      }
    }
  }
  return table;
}

std::vector<int32_t> LayOutNext(const TableInput& input, const std::vector<int32_t>& next) {
  const int64_t q_blocks = input.truth.q_blocks(), kv_blocks = input.truth.kv_blocks();
  return FillTable(input, [&](int64_t entry, const Place& place) {
    if (place.kind == Place::Kind::kPad) return 0;
    const int64_t q_row = entry * q_blocks + place.q_block;
    return next[static_cast<size_t>(q_row * kv_blocks + place.kv_block)];
  });
}

}  // namespace

TableLayout::TableLayout(const BlockTruth& truth, bool is_dkv, bool shrink, int64_t q_seq_shards)
    : is_dkv_(is_dkv),
      q_blocks_per_shard_(truth.q_blocks() / q_seq_shards),
      rows_(truth.q_blocks()),
      columns_(truth.kv_blocks()),
      rows_per_shard_(q_blocks_per_shard_) {
  if (shrink) Shrink(truth, q_seq_shards);
}

void TableLayout::Shrink(const BlockTruth& truth, int64_t q_seq_shards) {
  // A line is what gets shorter: a row for fwd and dq, a column of one q shard for dkv.
  const int64_t lines = is_dkv_ ? truth.kv_blocks() : q_blocks_per_shard_;
  const int64_t length = is_dkv_ ? q_blocks_per_shard_ : truth.kv_blocks();
  auto is_visible = [&](int64_t shard, int64_t line, int64_t i) {
    const int64_t q_block = shard * q_blocks_per_shard_ + (is_dkv_ ? i : line);
    return truth.ClassOf(truth.Index({0, q_block, is_dkv_ ? line : i})) != BlockClass::kEmpty;
  };

  std::vector<int64_t> visible(static_cast<size_t>(q_seq_shards * lines));
  std::vector<int64_t> longest(static_cast<size_t>(q_seq_shards));
  for (int64_t shard = 0; shard < q_seq_shards; ++shard) {
    for (int64_t line = 0; line < lines; ++line) {
      int64_t& count = visible[static_cast<size_t>(shard * lines + line)];
      for (int64_t i = 0; i < length; ++i) count += is_visible(shard, line, i);
      longest[static_cast<size_t>(shard)] = std::max(longest[static_cast<size_t>(shard)], count);
    }
  }
  const int64_t extent = std::max<int64_t>(1, *std::max_element(longest.begin(), longest.end()));

  (is_dkv_ ? rows_per_shard_ : columns_) = extent;
  rows_ = rows_per_shard_ * q_seq_shards;
  slots_.assign(static_cast<size_t>(rows_ * columns_), kPadSlot);
  for (int64_t shard = 0; shard < q_seq_shards; ++shard) {
    const int64_t shard_extent = longest[static_cast<size_t>(shard)];
    for (int64_t line = 0; line < lines; ++line) {
      auto slot = [&](int64_t k) -> int32_t& {
        const int64_t row = shard * rows_per_shard_ + (is_dkv_ ? k : line);
        return slots_[static_cast<size_t>(row * columns_ + (is_dkv_ ? line : k))];
      };
      int64_t k = is_dkv_ ? shard_extent - visible[static_cast<size_t>(shard * lines + line)] : 0;
      for (int64_t i = 0; i < length; ++i) {
        if (is_visible(shard, line, i)) slot(k++) = static_cast<int32_t>(i);
      }
      if (shard_extent == 0 || slot(shard_extent - 1) == kPadSlot) continue;
      for (k = shard_extent; k < extent; ++k) slot(k) = EdgeSlot(slot(shard_extent - 1));
    }
  }
}

Place TableLayout::At(int64_t row, int64_t column) const {
  if (slots_.empty()) return {Place::Kind::kBlock, row, column};
  const int32_t slot = slots_[static_cast<size_t>(row * columns_ + column)];
  if (slot == kPadSlot) return {Place::Kind::kPad};
  const bool is_edge = slot < kPadSlot;
  const int64_t i = is_edge ? EdgeSlot(slot) : slot;
  const Place::Kind kind = is_edge ? Place::Kind::kEdge : Place::Kind::kBlock;
  if (!is_dkv_) return {kind, row, i};
  return {kind, row / rows_per_shard_ * q_blocks_per_shard_ + i, column};
}

std::vector<int32_t> ExpectedBlockMask(const TableInput& input) {
  return FillTable(input, [&](int64_t entry, const Place& place) {
    if (place.kind != Place::Kind::kBlock) return 0;
    const int64_t index = TruthIndex(input, {entry, place.q_block, place.kv_block});
    return static_cast<int32_t>(input.truth.ClassOf(index));
  });
}

std::vector<int32_t> ExpectedDataNext(const TableInput& input) {
  const int64_t q_blocks_per_shard = input.truth.q_blocks() / input.options.q_seq_shards;
  return LayOutNext(input,
                    NextValues(
                        input,
                        [&](const Step& at) {
                          return input.truth.ClassOf(TruthIndex(input, at)) != BlockClass::kEmpty;
                        },
                        [&](const Step& at) {
                          return static_cast<int32_t>(input.is_dkv ? at.q_block % q_blocks_per_shard
                                                                   : at.kv_block);
                        }));
}

std::vector<int32_t> ExpectedMaskNext(const TableInput& input, const std::vector<int32_t>& ids) {
  return LayOutNext(
      input, NextValues(
                 input,
                 [&](const Step& at) {
                   return input.truth.ClassOf(TruthIndex(input, at)) == BlockClass::kPartial;
                 },
                 [&](const Step& at) { return ids[static_cast<size_t>(TruthIndex(input, at))]; }));
}

DType ExpectedDType(const std::vector<int32_t>& values, bool downcast_smem_data) {
  if (!downcast_smem_data) return DType::kInt32;
  const int32_t largest = *std::max_element(values.begin(), values.end());
  if (largest <= std::numeric_limits<int8_t>::max()) return DType::kInt8;
  return largest <= std::numeric_limits<int16_t>::max() ? DType::kInt16 : DType::kInt32;
}

}  // namespace splashmask::certify
