// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/runs.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace splashmask {

void AppendRunsOfBits(const uint64_t* row, int64_t count, int64_t begin, Runs* runs) {
  for (int64_t at = 0; at < count;) {
    // The next bit that is set, then the next that is not; a word at a time.
    const auto next = [&](int64_t from, uint64_t flip) {
      while (from < count) {
        const uint64_t word = (row[from / 64] ^ flip) >> (from % 64);
        if (word != 0) return std::min(count, from + std::countr_zero(word));
        from = (from / 64 + 1) * 64;
      }
      return count;
    };
    const int64_t first = next(at, 0);
    if (first == count) return;
    at = next(first, ~uint64_t{0});
    AppendRun({begin + first, begin + at}, runs);
  }
}

void ComplementRuns(const Runs& runs, KvRange kv, Runs* out) {
  out->clear();
  int64_t begin = kv.begin;
  for (const Run& run : runs) {
    if (begin < run.begin) out->push_back({begin, run.begin});
    begin = run.end;
  }
  if (begin < kv.end) out->push_back({begin, kv.end});
}

void CombineRuns(const Runs& left, const Runs& right, bool (*op)(bool, bool), Runs* out) {
  out->clear();
  constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
  size_t i = 0, j = 0;
  bool in_left = false, in_right = false, inside = false;
  while (i < left.size() || j < right.size()) {
    // The next position where either side changes.
    const int64_t next_left = i == left.size() ? kNever : in_left ? left[i].end : left[i].begin;
    const int64_t next_right = j == right.size() ? kNever
                               : in_right        ? right[j].end
                                                 : right[j].begin;
    const int64_t position = std::min(next_left, next_right);
    if (next_left == position) {
      if (in_left) ++i;
      in_left = !in_left;
    }
    if (next_right == position) {
      if (in_right) ++j;
      in_right = !in_right;
    }
    const bool now = op(in_left, in_right);
    if (now == inside) continue;
    if (now) {
      out->push_back({position, position});
    } else {
      out->back().end = position;
    }
    inside = now;
  }
}

}  // namespace splashmask
