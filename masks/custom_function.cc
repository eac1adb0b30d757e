// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/custom_function.h"

#include <algorithm>

namespace splashmask {

void CellFunction::Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                            std::byte* out) const {
  for (const int64_t row : q) {
    for (int64_t kv = kv_begin; kv < kv_end; ++kv) *out++ = std::byte{attends_(row, kv)};
  }
}

std::optional<bool> CellFunction::Classify(int64_t q_begin, int64_t q_end, int64_t kv_begin,
                                           int64_t kv_end) const {
  return classifier_ ? classifier_(q_begin, q_end, kv_begin, kv_end) : std::nullopt;
}

void RunFunction::Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                           std::byte* out) const {
  const int64_t columns = kv_end - kv_begin;
  std::fill_n(out, std::ssize(q) * columns, std::byte{0});
  std::vector<KvRun> runs;
  for (const int64_t row : q) {
    runs.clear();
    rows_(row, &runs);
    for (const KvRun& run : runs) {
      const int64_t begin = std::max(run.begin, kv_begin), end = std::min(run.end, kv_end);
      if (begin < end) std::fill_n(out + (begin - kv_begin), end - begin, std::byte{1});
    }
    out += columns;
  }
}

std::optional<bool> RunFunction::Classify(int64_t q_begin, int64_t q_end, int64_t kv_begin,
                                          int64_t kv_end) const {
  return classifier_ ? classifier_(q_begin, q_end, kv_begin, kv_end) : std::nullopt;
}

}  // namespace splashmask
