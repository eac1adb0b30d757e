// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/runs.h"

#include <algorithm>
#include <limits>

namespace splashmask {

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
