// SPDX-License-Identifier: Apache-2.0
#pragma once
// Resident memory of this process, and the bytes of a plan's tables.

#include <cstdint>
#include <vector>

#include "splashmask/planner/plan.h"

namespace splashmask {

/// From here on PeakMemory counts anew.
void ResetPeakMemory();
/// Bytes: the most that was resident since ResetPeakMemory, and what is resident now.
int64_t PeakMemory();
int64_t ResidentMemory();

/// Bytes of each array of a plan's passes; an array that two passes share counts once.
std::vector<int64_t> OutputSizes(const Plan& plan);
/// Their sum.
int64_t OutputBytes(const Plan& plan);

}  // namespace splashmask
