// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <variant>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/node.h"

namespace splashmask {

std::unique_ptr<const Analysis> Analyze(const Mask& mask) {
  return Analyze(mask, {0, mask.shape().kv_len});
}

std::unique_ptr<const Analysis> Analyze(const Mask& mask, KvRange domain) {
  return std::visit(Overloaded{
                        [&](const node::Documents&) { return AnalyzeArrayLeaf(mask); },
                        [&](const node::Segments&) { return AnalyzeArrayLeaf(mask); },
                        [&](const node::Blocks&) { return AnalyzeArrayLeaf(mask); },
                        [&](const node::Dense&) { return AnalyzeArrayLeaf(mask); },
                        [&](const node::Where&) { return AnalyzeWhere(mask, domain); },
                        [&](const node::Custom&) { return AnalyzeCustom(mask); },
                        [&](const node::Reorder&) { return AnalyzeReorder(mask, domain); },
                        [&](const node::Not&) { return AnalyzeOperator(mask, domain); },
                        [&](const node::Binary&) { return AnalyzeOperator(mask, domain); },
                        [&](const auto&) { return AnalyzePositional(mask, domain); },
                    },
                    mask.node().expr);
}

void Analysis::Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const {
  if (HasIntervals()) {
    constexpr size_t kRows = 64;  // At a time.
    int64_t begins[kRows], ends[kRows];
    for (size_t first = 0; first < q.size(); first += kRows) {
      const auto rows = q.subspan(first, std::min(kRows, q.size() - first));
      ReadIntervals(rows, kv, begins, ends);
      DrawIntervals(begins, ends, std::ssize(rows), kv.size(),
                    {out.row(static_cast<int64_t>(first)), out.stride});
    }
    return;
  }
  Runs runs;
  for (size_t r = 0; r < q.size(); ++r) {
    uint64_t* row = out.row(static_cast<int64_t>(r));
    FillRow(row, kv.size(), false);
    ReadRuns(q[r], kv, &runs);
    for (const Run& run : runs) SetBits(row, run.begin - kv.begin, run.end - kv.begin);
  }
}

}  // namespace splashmask
