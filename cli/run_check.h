// SPDX-License-Identifier: Apache-2.0
#pragma once
// How right splashmask run's output is: some rows beside attention in float64.

#include <cstdint>
#include <span>

#include "splashmask/kernels/attention_inputs.h"
#include "splashmask/masks/multi_head_mask.h"
#include "splashmask/planner/progress.h"

namespace splashmask::cli {

/// Largest differences. NaN where one side alone has a NaN, or an infinity of its own.
struct RunErrors {
  int64_t rows = 0;
  double out = 0, logsumexp = 0;
};

/// Compares `rows` rows drawn at random, or all if there are no more, with what the mask says: the
/// plan's tables take no part. `out` is [batch, heads, q_len, head_dim_v], `logsumexp` [batch,
/// heads, q_len]. Throws kCancelled.
RunErrors CheckRows(const MultiHeadMask& mask, const AttentionInputs& inputs,
                    std::span<const float> out, std::span<const float> logsumexp, int64_t rows,
                    const Progress& progress);

}  // namespace splashmask::cli
