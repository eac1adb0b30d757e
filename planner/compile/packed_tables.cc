// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/packed_tables.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "splashmask/planner/compile/tables.h"

namespace splashmask {

namespace {

// Calls fill(data, classes) with the slices of one sequence, all zeros.
template <typename Fill>
void WithSlices(PackedPass& pass, int64_t sequence, const Fill& fill) {
  const int64_t size = pass.data_next.shape()[1] * pass.data_next.shape()[2];
  WithType(pass.data_next.dtype(), [&]<typename Data>(Data*) {
    WithType(pass.block_mask.dtype(), [&]<typename Class>(Class*) {
      Data* data = pass.data_next.as<Data>() + sequence * size;
      Class* classes = pass.block_mask.as<Class>() + sequence * size;
      std::fill_n(data, size, Data{0});
      std::fill_n(classes, size, Class{0});
      fill(data, classes);
    });
  });
}

}  // namespace

int64_t LongestRow(const PackedBlocks& blocks) {
  int64_t longest = 0;
  for (int64_t row = 0; row < blocks.rows(); ++row) {
    longest = std::max(longest, blocks.CountRow(row));
  }
  return longest;
}

int64_t LongestColumn(const PackedBlocks& blocks) {
  std::vector<int64_t> counts(static_cast<size_t>(blocks.columns()));
  for (int64_t row = 0; row < blocks.rows(); ++row) {
    blocks.ForEachInRow(row, [&](int64_t column) { ++counts[column]; });
  }
  return *std::max_element(counts.begin(), counts.end());
}

void FillFwd(const PackedBlocks& blocks, int64_t sequence, PackedPass& pass) {
  const int64_t width = pass.data_next.shape()[2];
  WithSlices(pass, sequence, [&]<typename Data, typename Class>(Data* data, Class* classes) {
    for (int64_t row = 0; row < blocks.rows(); ++row) {
      int64_t at = row * width;
      blocks.ForEachInRow(row, [&](int64_t column) {
        data[at] = static_cast<Data>(column);
        classes[at++] = Class{1};
      });
    }
  });
}

void FillDkvShrunk(const PackedBlocks& blocks, int64_t sequence, PackedPass& pass) {
  const int64_t height = pass.data_next.shape()[1], columns = blocks.columns();
  std::vector<int64_t> top(static_cast<size_t>(columns), height);
  WithSlices(pass, sequence, [&]<typename Data, typename Class>(Data* data, Class* classes) {
    for (int64_t row = blocks.rows() - 1; row >= 0; --row) {
      blocks.ForEachInRow(row, [&](int64_t column) {
        const int64_t at = --top[column] * columns + column;
        data[at] = static_cast<Data>(row);
        classes[at] = Class{1};
      });
    }
  });
}

void FillDkvWhole(const PackedBlocks& blocks, int64_t sequence, PackedPass& pass) {
  const int64_t rows = blocks.rows(), columns = blocks.columns();
  WithSlices(pass, sequence, [&]<typename Data, typename Class>(Data* data, Class* classes) {
    // The first visited row of each column, then that of the column after it. No column is empty,
    // as every token sees itself.
    std::vector<Data> next(static_cast<size_t>(columns));
    for (int64_t row = rows - 1; row >= 0; --row) {
      blocks.ForEachInRow(row, [&](int64_t column) { next[column] = static_cast<Data>(row); });
    }
    std::rotate(next.begin(), next.begin() + 1, next.end());
    for (int64_t row = rows - 1; row >= 0; --row) {
      blocks.ForEachInRow(row, [&](int64_t column) {
        next[column] = static_cast<Data>(row);
        classes[row * columns + column] = Class{1};
      });
      std::copy(next.begin(), next.end(), data + row * columns);
    }
  });
}

}  // namespace splashmask
