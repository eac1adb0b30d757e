// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/computed_mask.h"

namespace splashmask::fast {

std::unique_ptr<const Analysis> AnalyzeFunction(const CompiledPass& pass) {
  return Analyze(pass.mask_function->Reorder(Positions::FromArray(*pass.info.q_sequence)));
}

ComputedMask::ComputedMask(const CompiledPass& pass) : analysis_(AnalyzeFunction(pass)) {
  const auto [q_len, kv_len] = analysis_->shape();
  lower_.resize(static_cast<size_t>(q_len));
  upper_.resize(static_cast<size_t>(q_len));
  Runs runs;
  for (int64_t begin = 0; begin < q_len; begin += pass.block.q) {
    bool is_bounded = true;
    for (int64_t row = begin; is_bounded && row < begin + pass.block.q; ++row) {
      analysis_->ReadRuns(row, {0, kv_len}, &runs);
      is_bounded = runs.size() <= 1;
      if (runs.size() != 1) continue;
      lower_[static_cast<size_t>(row)] = static_cast<int32_t>(runs.front().begin);
      upper_[static_cast<size_t>(row)] = static_cast<int32_t>(runs.front().end);
    }
    is_bounded_.push_back(is_bounded);
  }
}

}  // namespace splashmask::fast
