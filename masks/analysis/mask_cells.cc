// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/mask_cells.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

void CheckRange(const char* axis, int64_t begin, int64_t end, int64_t length) {
  if (0 <= begin && begin <= end && end <= length) return;
  throw Error(ErrorCode::kInvalidArgument, "[cells] expected a range of " + std::string(axis) +
                                               " inside 0.." + std::to_string(length) + ", got " +
                                               std::to_string(begin) + ".." + std::to_string(end));
}

}  // namespace

MaskCells::MaskCells(const Mask& mask) : analysis_(Analyze(mask)) {}
MaskCells::~MaskCells() = default;

void MaskCells::Read(int64_t q_begin, int64_t q_end, int64_t kv_begin, int64_t kv_end,
                     std::byte* out) const {
  CheckRange("q", q_begin, q_end, analysis_->shape().q_len);
  CheckRange("kv", kv_begin, kv_end, analysis_->shape().kv_len);
  const int64_t columns = kv_end - kv_begin;
  if (columns == 0) return;
  // Some rows at a time: their bits stay in the cache.
  constexpr int64_t kRows = 64;
  const int64_t words = WordsFor(columns);
  std::vector<uint64_t> bits(static_cast<size_t>(kRows * words));
  std::vector<int64_t> q(kRows);
  for (int64_t row = q_begin; row < q_end; row += kRows) {
    const int64_t count = std::min(kRows, q_end - row);
    std::iota(q.begin(), q.end(), row);
    const BitRows rows{bits.data(), words};
    analysis_->Draw(std::span(q).first(static_cast<size_t>(count)), {kv_begin, kv_end}, rows);
    for (int64_t r = 0; r < count; ++r, out += columns) {
      UnpackBoolRows(reinterpret_cast<const std::byte*>(rows.row(r)), 1, columns, out);
    }
  }
}

}  // namespace splashmask
