// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/analysis/strided.h"

#include <algorithm>
#include <cstdlib>

#include "splashmask/masks/analysis/runs.h"

namespace splashmask {

namespace {

void AppendIndices(const Run& run, const Rows& columns, int64_t at, Runs* runs) {
  if (columns.step == 0) {
    AppendRun({at, at + columns.count}, runs);
    return;
  }
  // Index i has position first + i * step; the nearest ones inside the run at both ends.
  const int64_t step = std::abs(columns.step);
  const int64_t low = columns.step > 0 ? run.begin - columns.first : columns.first - (run.end - 1);
  const int64_t high = columns.step > 0 ? run.end - 1 - columns.first : columns.first - run.begin;
  const int64_t begin = low <= 0 ? 0 : (low - 1) / step + 1;
  const int64_t end = high < 0 ? 0 : std::min(columns.count, high / step + 1);
  if (begin < end) AppendRun({at + begin, at + end}, runs);
}

}  // namespace

void AppendStrided(const Runs& positions, const Rows& columns, int64_t at, Runs* runs) {
  if (columns.step >= 0) {
    for (const Run& run : positions) AppendIndices(run, columns, at, runs);
  } else {
    std::for_each(positions.rbegin(), positions.rend(),
                  [&](const Run& run) { AppendIndices(run, columns, at, runs); });
  }
}

bool Analysis::DrawsStrided(KvRange span) const {
  return HasIntervals() || HasFewRuns(*this, span);
}

void Analysis::DrawStrided(std::span<const int64_t> q, const Rows& columns, BitRows out) const {
  Runs positions, indices;
  for (int64_t r = 0; r < std::ssize(q); ++r) {
    FillRow(out.row(r), columns.count, false);
    ReadRuns(q[static_cast<size_t>(r)], SpanOf(columns), &positions);
    indices.clear();
    AppendStrided(positions, columns, 0, &indices);
    for (const Run& run : indices) SetBits(out.row(r), run.begin, run.end);
  }
}

}  // namespace splashmask
