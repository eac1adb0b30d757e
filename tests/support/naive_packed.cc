// SPDX-License-Identifier: Apache-2.0
#include "tests/support/naive_packed.h"

#include <algorithm>
#include <vector>

#include "tests/support/naive_mask.h"

namespace splashmask {

namespace {

using Plane = std::vector<std::vector<int32_t>>;  // [row][column]

Plane Zeros(int64_t rows, int64_t columns) {
  return Plane(static_cast<size_t>(rows), std::vector<int32_t>(static_cast<size_t>(columns)));
}

// 1 for the blocks to visit: those with a visible pair of a document, or a padded diagonal cell.
Plane BlockMask(const std::vector<uint8_t>& cells, const int32_t* ids, int64_t length,
                BlockShape block, std::optional<int32_t> pad) {
  Plane mask = Zeros(length / block.q, length / block.kv);
  for (int64_t q = 0; q < length; ++q) {
    for (int64_t kv = 0; kv < length; ++kv) {
      const bool visible = cells[q * length + kv] != 0 && ids[q] == ids[kv];
      if (visible && (ids[q] != pad || q == kv)) mask[q / block.q][kv / block.kv] = 1;
    }
  }
  return mask;
}

// JAX's data_next of an unshrunk grid: the next visible block of a walk, which wraps around.
Plane WholeNext(const Plane& mask, bool is_dkv) {
  struct Step {
    size_t row, column;
  };
  std::vector<Step> walk;
  for (size_t row = 0; row < mask.size(); ++row) {
    for (size_t column = 0; column < mask[0].size(); ++column) walk.push_back({row, column});
  }
  if (is_dkv) {
    std::stable_sort(walk.begin(), walk.end(),
                     [](const Step& a, const Step& b) { return a.column < b.column; });
  }
  Plane next = mask;
  for (size_t i = 0; i < walk.size(); ++i) {
    size_t to = i;
    while (mask[walk[to].row][walk[to].column] == 0) to = (to + 1) % walk.size();
    next[walk[i].row][walk[i].column] =
        static_cast<int32_t>(is_dkv ? walk[to].row : walk[to].column);
  }
  return next;
}

// Of the entries of `grid` in a row, those that `mask` names, then zeros.
Plane ShrinkRows(const Plane& grid, const Plane& mask, int64_t width) {
  Plane shrunk = Zeros(static_cast<int64_t>(grid.size()), width);
  for (size_t row = 0; row < grid.size(); ++row) {
    size_t at = 0;
    for (size_t column = 0; column < grid[row].size(); ++column) {
      if (mask[row][column] != 0) shrunk[row][at++] = grid[row][column];
    }
  }
  return shrunk;
}

// The same for columns, with the zeros at the top.
Plane ShrinkColumns(const Plane& grid, const Plane& mask, int64_t height) {
  Plane shrunk = Zeros(height, static_cast<int64_t>(grid[0].size()));
  for (size_t column = 0; column < grid[0].size(); ++column) {
    int64_t at = height;
    for (size_t row = grid.size(); row-- > 0;) {
      if (mask[row][column] != 0) shrunk[--at][column] = grid[row][column];
    }
  }
  return shrunk;
}

int64_t Longest(const Plane& mask, bool is_dkv) {
  int64_t longest = 0;
  const size_t lines = is_dkv ? mask[0].size() : mask.size();
  const size_t entries = is_dkv ? mask.size() : mask[0].size();
  for (size_t line = 0; line < lines; ++line) {
    int64_t count = 0;
    for (size_t i = 0; i < entries; ++i) count += is_dkv ? mask[i][line] : mask[line][i];
    longest = std::max(longest, count);
  }
  return longest;
}

class NaivePackedPass {
 public:
  NaivePackedPass(const SegmentIds& ids, const Mask& mask, const PackedOptions& options,
                  bool is_dkv)
      : is_dkv_(is_dkv),
        shrink_(!is_dkv || !options.use_fused_bwd_kernel),
        block_(is_dkv ? options.dkv.value_or(options.fwd) : options.fwd),
        rows_(ids.length / block_.q),
        columns_(ids.length / block_.kv),
        given_(is_dkv ? options.height : options.width),
        downcast_(options.downcast_smem_data) {
    const std::vector<uint8_t> cells = NaiveCells(mask);
    const std::vector<int32_t> one_document(static_cast<size_t>(ids.length), 1);
    by_mask_ = Longest(BlockMask(cells, one_document.data(), ids.length, block_, {}), is_dkv_);
    for (int64_t i = 0; i < ids.batch; ++i) {
      masks_.push_back(BlockMask(cells, ids.ids + i * ids.length, ids.length, block_, options.pad));
    }
  }

  std::optional<std::string> Overflow() const {
    if (!given_ || !shrink_) return std::nullopt;
    std::vector<int64_t> needs;
    for (const Plane& mask : masks_) needs.push_back(Longest(mask, is_dkv_));
    const auto first =
        std::find_if(needs.begin(), needs.end(), [&](int64_t n) { return n > *given_; });
    if (first == needs.end()) return std::nullopt;
    const std::string name = is_dkv_ ? "height" : "width";
    return "[compile_packed] expected a " + name + " that every sequence fits in, got " +
           std::to_string(*given_) + ": sequence " + std::to_string(first - needs.begin()) +
           " needs " + std::to_string(*first) + ", and the whole batch " +
           std::to_string(*std::max_element(needs.begin(), needs.end()));
  }

  PackedPass Build() const {
    const int64_t size = given_.value_or(by_mask_);
    const int64_t rows = is_dkv_ && shrink_ ? size : rows_;
    const int64_t columns = is_dkv_ ? columns_ : size;
    const int64_t largest = (is_dkv_ ? rows_ : columns_) - 1;
    const DType dtype = !downcast_         ? DType::kInt32
                        : largest <= 127   ? DType::kInt8
                        : largest <= 32767 ? DType::kInt16
                                           : DType::kInt32;
    const std::array<int64_t, 3> shape{std::ssize(masks_), rows, columns};
    PackedPass pass{block_, Table(dtype, shape),
                    Table(downcast_ ? DType::kInt8 : DType::kInt32, shape)};
    for (size_t i = 0; i < masks_.size(); ++i) {
      const Plane& mask = masks_[i];
      const Plane next = WholeNext(mask, is_dkv_);
      const auto shrink = [&](const Plane& grid) {
        if (!shrink_) return grid;
        return is_dkv_ ? ShrinkColumns(grid, mask, rows) : ShrinkRows(grid, mask, columns);
      };
      Store(shrink(next), i, pass.data_next);
      Store(shrink(mask), i, pass.block_mask);
    }
    return pass;
  }

 private:
  static void Store(const Plane& grid, size_t sequence, Table& table) {
    auto at = static_cast<int64_t>(sequence) * table.shape()[1] * table.shape()[2];
    for (const auto& row : grid) {
      for (int32_t entry : row) table.Set(at++, entry);
    }
  }

  const bool is_dkv_, shrink_;
  const BlockShape block_;
  const int64_t rows_, columns_;
  const std::optional<int64_t> given_;
  const bool downcast_;
  int64_t by_mask_ = 0;
  std::vector<Plane> masks_;  // One a sequence.
};

}  // namespace

bool SeesItself(const Mask& mask) {
  for (int64_t i = 0; i < mask.shape().q_len; ++i) {
    if (!NaiveAt(mask, i, i)) return false;
  }
  return true;
}

NaivePacked NaiveCompilePacked(const SegmentIds& segment_ids, const Mask& mask,
                               const PackedOptions& options) {
  const NaivePackedPass fwd(segment_ids, mask, options, false),
      dkv(segment_ids, mask, options, true);
  if (const auto overflow = fwd.Overflow()) return {std::nullopt, overflow};
  if (const auto overflow = dkv.Overflow()) return {std::nullopt, overflow};
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < segment_ids.length; ++i) positions.push_back(static_cast<int32_t>(i));
  return {PackedTables{fwd.Build(), dkv.Build(), Array::FromVector(positions), mask}, std::nullopt};
}

}  // namespace splashmask
