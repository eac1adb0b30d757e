// SPDX-License-Identifier: Apache-2.0
#pragma once
// Boolean algebra on sorted runs. Private to the project.

#include "splashmask/masks/analysis/analysis.h"

namespace splashmask {

/// Appends a run that begins where the last one ends, or later; one that touches it makes it
/// longer.
inline void AppendRun(Run run, Runs* runs) {
  if (!runs->empty() && runs->back().end == run.begin) {
    runs->back().end = run.end;
  } else {
    runs->push_back(run);
  }
}

/// Appends the runs of set bits among the first `count` of a row, whose bit 0 is position `begin`.
void AppendRunsOfBits(const uint64_t* row, int64_t count, int64_t begin, Runs* runs);

/// The runs of `kv` that `runs` leaves out.
void ComplementRuns(const Runs& runs, KvRange kv, Runs* out);

/// The positions where `op` of the two holds, for op(false, false) == false. O(runs).
void CombineRuns(const Runs& left, const Runs& right, bool (*op)(bool, bool), Runs* out);

}  // namespace splashmask
