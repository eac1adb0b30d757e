// SPDX-License-Identifier: Apache-2.0
#pragma once
// Minimum and maximum over any index range of an array: O(n) memory, O(log n) a query. Private to
// the project.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace splashmask {

class RangeMinMax {
 public:
  struct MinMax {
    int64_t min = std::numeric_limits<int64_t>::max();
    int64_t max = std::numeric_limits<int64_t>::min();

    bool empty() const { return min > max; }
    void Add(const MinMax& other) {
      min = std::min(min, other.min);
      max = std::max(max, other.max);
    }
  };

  /// Of ranges instead of values.
  explicit RangeMinMax(const std::vector<MinMax>& ranges)
      : size_(static_cast<int64_t>(ranges.size())), tree_(2 * ranges.size()) {
    std::copy(ranges.begin(), ranges.end(), tree_.begin() + size_);
    Build();
  }

  /// Values equal to `skip` count for nothing.
  RangeMinMax(const std::vector<int64_t>& values, std::optional<int64_t> skip)
      : size_(static_cast<int64_t>(values.size())), tree_(2 * values.size()) {
    for (int64_t i = 0; i < size_; ++i) {
      if (values[i] != skip) tree_[size_ + i] = {values[i], values[i]};
    }
    Build();
  }

  /// Over the indices first to last, both included; nothing where last < first.
  MinMax Query(int64_t first, int64_t last) const {
    MinMax result;
    for (int64_t i = first + size_, j = last + size_ + 1; i < j; i /= 2, j /= 2) {
      if (i % 2 == 1) result.Add(tree_[i++]);
      if (j % 2 == 1) result.Add(tree_[--j]);
    }
    return result;
  }

 private:
  void Build() {
    for (int64_t i = size_ - 1; i > 0; --i) {
      tree_[i] = tree_[2 * i];
      tree_[i].Add(tree_[2 * i + 1]);
    }
  }

  int64_t size_;
  std::vector<MinMax> tree_;  // A segment tree: node i has the children 2i and 2i + 1.
};

}  // namespace splashmask
