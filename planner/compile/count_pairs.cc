// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/count_pairs.h"

#include <fmt/format.h>

#include <atomic>
#include <limits>
#include <unordered_map>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/compile/row_counter.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

PairRectangle Checked(Shape shape, const std::optional<PairRectangle>& where) {
  const PairRectangle all{0, shape.q_len, 0, shape.kv_len};
  const PairRectangle in = where.value_or(all);
  const auto check = [](const char* axis, int64_t begin, int64_t end, int64_t length) {
    if (0 <= begin && begin <= end && end <= length) return;
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[count] expected a range of {} inside 0..{}, got {}..{}", axis, length,
                            begin, end));
  };
  check("q", in.q_begin, in.q_end, shape.q_len);
  check("kv", in.kv_begin, in.kv_end, shape.kv_len);
  const ByteCount cells = static_cast<ByteCount>(in.q_end - in.q_begin) *
                          static_cast<ByteCount>(in.kv_end - in.kv_begin);
  if (cells > static_cast<ByteCount>(std::numeric_limits<int64_t>::max())) {
    throw Error(ErrorCode::kTooLarge, "[count] expected fewer cells than 64 bits count");
  }
  return in;
}

template <typename Work>
void ForEachRowPieceOf(const Mask& mask, const PairRectangle& in, int threads,
                       const Progress& progress, const Work& work) {
  if (in.kv_begin == in.kv_end) return;
  ForEachRowPiece(*Analyze(mask), in.q_begin, in.q_end, {in.kv_begin, in.kv_end}, threads, progress,
                  work);
}

}  // namespace

std::vector<int64_t> CountPairs(const MultiHeadMask& mask,
                                const std::optional<PairRectangle>& where, int threads,
                                const Progress& progress) {
  const PairRectangle in = Checked(mask.shape(), where);
  std::unordered_map<const MaskNode*, int64_t> counted;
  std::vector<int64_t> pairs;
  for (const Mask& head : mask.masks()) {
    const auto [at, is_new] = counted.try_emplace(&head.node(), 0);
    if (is_new) {
      std::atomic<int64_t> sum = 0;
      const auto count = [&](RowCounter& counter, int64_t begin, int64_t end) {
        int64_t of_piece = 0;
        counter.Count(begin, end, [&](int64_t, KvRange, int64_t n) { of_piece += n; });
        sum += of_piece;
      };
      ForEachRowPieceOf(head, in, threads, progress, count);
      at->second = sum;
    }
    pairs.push_back(at->second);
  }
  return pairs;
}

std::vector<int64_t> CountPairsOfRows(const Mask& mask, const std::optional<PairRectangle>& where,
                                      int threads, const Progress& progress) {
  const PairRectangle in = Checked(mask.shape(), where);
  std::vector<int64_t> pairs(static_cast<size_t>(in.q_end - in.q_begin));
  ForEachRowPieceOf(mask, in, threads, progress,
                    [&](RowCounter& counter, int64_t begin, int64_t end) {
                      counter.Count(begin, end, [&](int64_t q, KvRange, int64_t of_part) {
                        pairs[static_cast<size_t>(q - in.q_begin)] += of_part;
                      });
                    });
  return pairs;
}

}  // namespace splashmask
