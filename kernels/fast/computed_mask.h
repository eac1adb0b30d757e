// SPDX-License-Identifier: Apache-2.0
#pragma once
// The mask function of a pass over the positions of its rows. Private to kernels/.

#include <cstdint>
#include <memory>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/planner/plan.h"

namespace splashmask::fast {

/// The mask function of a pass that has one, row r being that of its r-th position.
std::unique_ptr<const Analysis> AnalyzeFunction(const CompiledPass& pass);

class ComputedMask {
 public:
  /// Reads every row's runs once: the function may be a user's, and slow. The pass has one.
  explicit ComputedMask(const CompiledPass& pass);

  const Analysis& analysis() const { return *analysis_; }

  /// Whether every row of a q block sees one run, [lower, upper).
  bool IsBounded(int64_t q_block) const { return is_bounded_[static_cast<size_t>(q_block)] != 0; }
  /// From a row of such a block on.
  const int32_t* lower(int64_t row) const { return lower_.data() + row; }
  const int32_t* upper(int64_t row) const { return upper_.data() + row; }

 private:
  std::unique_ptr<const Analysis> analysis_;
  std::vector<int32_t> lower_, upper_;  // [q_len]
  std::vector<uint8_t> is_bounded_;     // [q blocks]
};

}  // namespace splashmask::fast
