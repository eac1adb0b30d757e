// SPDX-License-Identifier: Apache-2.0
#pragma once
// The runs of a row from left to right. Private to compile.

#include <cstdint>
#include <limits>
#include <span>
#include <utility>

namespace splashmask {

/// Of runs with a begin and an end, which ascend.
template <typename Run>
class RunCursor {
 public:
  /// The runs are borrowed.
  explicit RunCursor(std::span<const Run> runs) : left_(runs) {}

  /// The run at a column no less than the last one asked about, or nullptr between two, and the
  /// column to which the row goes on so.
  std::pair<const Run*, int64_t> At(int64_t column) {
    while (!left_.empty() && left_.front().end <= column) left_ = left_.subspan(1);
    if (left_.empty()) return {nullptr, std::numeric_limits<int64_t>::max()};
    const Run& run = left_.front();
    if (column < run.begin) return {nullptr, run.begin};
    return {&run, run.end};
  }

 private:
  std::span<const Run> left_;
};

}  // namespace splashmask
