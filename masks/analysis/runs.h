// SPDX-License-Identifier: Apache-2.0
#pragma once
// Boolean algebra on sorted runs. Private to the project.

#include "splashmask/masks/analysis/analysis.h"

namespace splashmask {

/// The runs of `kv` that `runs` leaves out.
void ComplementRuns(const Runs& runs, KvRange kv, Runs* out);

/// The positions where `op` of the two holds, for op(false, false) == false. O(runs).
void CombineRuns(const Runs& left, const Runs& right, bool (*op)(bool, bool), Runs* out);

}  // namespace splashmask
