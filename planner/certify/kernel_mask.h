// SPDX-License-Identifier: Apache-2.0
#pragma once
// The mask that a kernel computes by itself, and the q positions that it computes it from.

#include <cstdint>
#include <optional>

#include "splashmask/masks/array.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/certify/heads.h"
#include "splashmask/planner/plan.h"

namespace splashmask::certify {

/// The mask function that the kernel computes by itself when every head has this one mask: causal,
/// local or chunked causal, bare or with reordered q positions; with `simplify` every composition
/// of positions. Then the heads are those of simplified masks.
std::optional<Mask> ComputedByKernel(const HeadEntries& heads, bool simplify);

/// The first mismatch of a pass's mask_function; its pass is left to the caller.
std::optional<Mismatch> CheckMaskFunction(const std::optional<Mask>& expected,
                                          const std::optional<Mask>& got);

/// The same of q_sequence, which is there when the kernel `computes` the mask. Adds to `entries`
/// what was compared.
std::optional<Mismatch> CheckQSequence(const HeadEntries& heads, bool computes,
                                       const std::optional<Array>& got, int64_t* entries);

}  // namespace splashmask::certify
