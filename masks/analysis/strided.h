// SPDX-License-Identifier: Apache-2.0
#pragma once
// Columns that lie a step apart. Private to the project.

#include "splashmask/masks/analysis/analysis.h"

namespace splashmask {

/// The positions that some columns span.
inline KvRange SpanOf(const Rows& columns) { return {columns.min(), columns.max() + 1}; }

/// Whether rows have so few runs that reading those of a span beats looking at its cells.
inline bool HasFewRuns(const Analysis& analysis, KvRange span) {
  constexpr double kCellsPerRun = 64;
  return analysis.RunsPerRow() * kCellsPerRun <= static_cast<double>(span.size());
}

/// Appends the indices of the columns whose positions lie in the runs, which are in the order of
/// their positions, each index `at` higher.
void AppendStrided(const Runs& positions, const Rows& columns, int64_t at, Runs* runs);

}  // namespace splashmask
