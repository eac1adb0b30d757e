// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/tokamax_check.h"

#include <fmt/format.h>

#include <string>
#include <tuple>

#include "splashmask/planner/certify/describe.h"
#include "splashmask/planner/certify/expected_tables.h"
#include "splashmask/planner/certify/partial_blocks.h"

namespace splashmask::certify {

namespace {

// The lists of shards without any visit are not narrowed.
DType ListDType(const std::vector<int32_t>& values, bool downcast_smem_data) {
  return values.empty() ? DType::kInt32 : ExpectedDType(values, downcast_smem_data);
}

}  // namespace

TokamaxCheck::TokamaxCheck(const TokamaxPass& pass, bool is_dkv, const HeadEntries& heads,
                           ProvenGrid& grid, RowProgress& progress)
    : pass_(pass),
      heads_(heads),
      grid_(grid),
      progress_(progress),
      is_dkv_(is_dkv),
      leaf_(ComputedByKernel(heads, pass.options.simplify)),
      walk_(grid.truth, pass.options, is_dkv, progress) {}

std::optional<Mismatch> TokamaxCheck::Run() {
  const TokamaxMaskInfo& info = pass_.info;
  const bool has_lists = !walk_.is_full();
  const auto list_if = [](bool present, auto make) {
    return present ? std::optional(make()) : std::nullopt;
  };
  Result wrong;
  // A mask that is visible everywhere is not computed, though positions are there.
  if ((wrong = CheckMaskFunction(has_lists ? leaf_ : std::nullopt, pass_.mask_function))) {
    return wrong;
  }
  if ((wrong = CheckQSequence(heads_, leaf_.has_value(), info.q_sequence, &entries_))) return wrong;
  if ((wrong = CheckList("block_mask", info.block_mask,
                         list_if(has_lists, [&] { return walk_.Classes(); })))) {
    return wrong;
  }
  const bool has_visits = has_lists && pass_.options.return_dynamic_grid;
  if ((wrong = CheckList("active_rows", info.active_rows,
                         list_if(has_visits, [&] { return walk_.Rows(); })))) {
    return wrong;
  }
  if ((wrong = CheckList("active_cols", info.active_cols,
                         list_if(has_visits, [&] { return walk_.Columns(); })))) {
    return wrong;
  }
  if (!has_visits && info.num_active_blocks) {
    return Wrong("num_active_blocks", kNone, Describe(info.num_active_blocks));
  }
  if (has_visits && (wrong = CheckValues("num_active_blocks", info.num_active_blocks, DType::kInt32,
                                         walk_.counts()))) {
    return wrong;
  }
  StoredBlocksCheck blocks(heads_, grid_, is_dkv_, progress_);
  if ((wrong = blocks.Run(info.partial_mask_blocks, leaf_.has_value()))) return wrong;
  const bool has_blocks = grid_.reference != nullptr && !leaf_;
  return CheckList("mask_next", info.mask_next,
                   list_if(has_blocks, [&] { return walk_.MaskNext(grid_.ids); }));
}

TokamaxCheck::Result TokamaxCheck::CheckList(const char* name, const std::optional<Array>& got,
                                             const std::optional<std::vector<int32_t>>& expected) {
  if (!expected) return got ? Result(Wrong(name, kNone, Describe(got))) : std::nullopt;
  const DType dtype = ListDType(*expected, pass_.options.downcast_smem_data);
  Result wrong = CheckValues(name, got, dtype, *expected);
  if (wrong && !wrong->index.empty())
    LocateVisit(wrong->index[0], got->At(wrong->index[0]), &*wrong);
  return wrong;
}

TokamaxCheck::Result TokamaxCheck::CheckValues(const char* name, const std::optional<Array>& got,
                                               DType dtype, const std::vector<int32_t>& expected) {
  const int64_t shape[] = {std::ssize(expected)};
  const std::string expected_type = DescribeArray(dtype, shape);
  if (Describe(got) != expected_type) return Wrong(name, expected_type, Describe(got));
  entries_ += got->size();
  for (int64_t i = 0; i < got->size(); ++i) {
    const int32_t value = expected[static_cast<size_t>(i)];
    if (got->At(i) == value) continue;
    Mismatch mismatch = Wrong(name, fmt::to_string(value), fmt::to_string(got->At(i)));
    mismatch.index = {i};
    return mismatch;
  }
  return std::nullopt;
}

void TokamaxCheck::LocateVisit(int64_t i, int64_t got, Mismatch* mismatch) const {
  if (walk_.IsPadding(i)) return;
  const BlockAt at = walk_.At(i);
  mismatch->head = 0;
  std::tie(mismatch->q, mismatch->kv) =
      mismatch->table == "block_mask" ? CellAgainst(grid_.truth, at, static_cast<int32_t>(got))
                                      : FirstCell(grid_.truth, at);
}

}  // namespace splashmask::certify
