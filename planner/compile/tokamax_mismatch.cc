// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/tokamax_mismatch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "splashmask/masks/error.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/tokamax.h"

namespace splashmask {

namespace {

using Result = std::optional<TokamaxMismatch>;

constexpr const char* kNone = "None";

std::string Describe(const std::optional<Mask>& mask) {
  if (!mask) return kNone;
  return fmt::format("{} of shape ({}, {})", splashmask::ToString(*mask), mask->shape().q_len,
                     mask->shape().kv_len);
}

std::string Describe(const std::optional<Array>& list) {
  if (!list) return kNone;
  return fmt::format("{}[{}]", DTypeName(list->dtype()), fmt::join(list->shape(), ", "));
}

std::string Describe(const std::optional<PartialMaskBlocks>& blocks) {
  if (!blocks) return kNone;
  return fmt::format("bool[{}, {}, {}]", fmt::join(blocks->leading(), ", "), blocks->rows(),
                     blocks->columns());
}

class Comparison {
 public:
  Comparison(Pass pass, const TokamaxPass& expected, const TokamaxPass& got)
      : pass_(pass), expected_(expected), got_(got) {}

  Result Run() {
    const TokamaxMaskInfo &want = expected_.info, &got = got_.info;
    if (expected_.mask_function != got_.mask_function) {
      Report("mask_function", {}, Describe(expected_.mask_function), Describe(got_.mask_function));
    }
    Compare("q_sequence", want.q_sequence, got.q_sequence);
    Compare("block_mask", want.block_mask, got.block_mask);
    Compare("active_rows", want.active_rows, got.active_rows);
    Compare("active_cols", want.active_cols, got.active_cols);
    Compare("num_active_blocks", want.num_active_blocks, got.num_active_blocks);
    Compare(want.partial_mask_blocks, got.partial_mask_blocks);
    Compare("mask_next", want.mask_next, got.mask_next);
    return std::move(result_);
  }

 private:
  // The first report stands.
  void Report(const char* table, std::vector<int64_t> index, std::string expected,
              std::string got) {
    if (result_) return;
    result_ = {pass_, table, std::move(index), std::move(expected), std::move(got)};
  }

  void Compare(const char* table, const std::optional<Array>& want,
               const std::optional<Array>& got) {
    if (Describe(want) != Describe(got)) return Report(table, {}, Describe(want), Describe(got));
    if (!want || *want == *got) return;
    int64_t index = 0;
    while (want->At(index) == got->At(index)) ++index;
    Report(table, {index}, fmt::to_string(want->At(index)), fmt::to_string(got->At(index)));
  }

  void Compare(const std::optional<PartialMaskBlocks>& want,
               const std::optional<PartialMaskBlocks>& got) {
    constexpr const char* kTable = "partial_mask_blocks";
    if (Describe(want) != Describe(got)) return Report(kTable, {}, Describe(want), Describe(got));
    if (!want || *want == *got) return;
    const int64_t at =
        std::mismatch(want->data(), want->data() + want->size_bytes(), got->data()).first -
        want->data();
    const auto expected = std::to_integer<unsigned>(want->data()[at]);
    const auto difference = expected ^ std::to_integer<unsigned>(got->data()[at]);
    const int bit = std::countr_zero(difference);
    const int64_t row = at / want->row_bytes(), column = at % want->row_bytes() * 8 + bit;
    const bool expected_bit = (expected >> bit & 1) != 0;
    Report(kTable, {row / want->rows(), row % want->rows(), column},
           expected_bit ? "True" : "False", expected_bit ? "False" : "True");
  }

  const Pass pass_;
  const TokamaxPass &expected_, &got_;
  Result result_;
};

}  // namespace

std::string TokamaxMismatch::PassPath() const { return fmt::format("tokamax/{}", PassName(pass)); }

std::string TokamaxMismatch::ToString() const {
  std::string text = fmt::format("{} {}", PassPath(), table);
  if (!index.empty()) text += fmt::format("[{}]", fmt::join(index, ", "));
  return text + fmt::format(": expected {}, got {}", expected, got);
}

std::optional<TokamaxMismatch> FindTokamaxMismatch(const Plan& plan, int threads,
                                                   const Progress& progress) {
  if (!plan.has_tokamax()) return std::nullopt;
  if (!plan.has_one_mask()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[verify] expected one mask for all heads beside tokamax lists, got several");
  }
  for (Pass which : kTokamaxPasses) {
    const std::optional<TokamaxPass>& pass = plan.tokamax_pass(which);
    if (!pass) continue;
    TokamaxOptions options{pass->options, which == Pass::kDkv, threads, progress};
    const TokamaxPass expected = CompileTokamax(plan.mask.masks().front(), options);
    if (Result result = Comparison(which, expected, *pass).Run()) return result;
  }
  return std::nullopt;
}

}  // namespace splashmask
