// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/forward_buffers.h"

#include <algorithm>
#include <utility>

#include "splashmask/planner/cost/tiles.h"
#include "splashmask/planner/cost/tpu_layout.h"

namespace splashmask {

namespace {

using Dims = BufferList::Dims;

// A slice keeps the axis of lanes, with one of them: beside that of positions, unless tiles would
// have to hold it.
void AddSlice(BufferList& list, XlaShape logsumexp) {
  Dims& order = logsumexp.layout->minor_to_major;
  const auto rank = static_cast<int64_t>(logsumexp.dims.size());
  const auto positions = std::find(order.begin(), order.end(), rank - 1);
  order.insert(positions == order.begin() ? order.end() : positions + 1, rank);
  logsumexp.dims.push_back(1);
  list.Add("logsumexp", BufferKind::kOutput, std::move(logsumexp));
}

// Where nothing moves XLA makes the slice a sum over one lane. It has no axes of one element. Where
// it would lie in memory as logsumexp does it is the output; else it is copied there.
void AddSum(BufferList& list, const XlaShape& logsumexp) {
  list.AddSummandsWithoutLayout();
  Dims dims = logsumexp.dims;
  std::erase(dims, 1);
  if (dims == logsumexp.dims) return list.Add("logsumexp", BufferKind::kOutput, logsumexp);
  const XlaShape sum = RowMajorShape("f32", dims);
  const bool is_one_row = dims.size() < 2 || dims.back() <= kLanes;
  if (is_one_row && TiledBytes(sum) == TiledBytes(logsumexp)) {
    return list.Add("logsumexp", BufferKind::kOutput, sum);
  }
  list.Add("logsumexp", BufferKind::kOutput, logsumexp);
  list.AddTemporary("logsumexp, no unit axes", sum, Lifetime::kAfterwards);
}

// The kernel writes it in every lane, of which one is the output. True where that is a reduction.
bool AddLogsumexp(BufferList& list) {
  const Dims dims = list.Batched({list.config().heads, list.config().q_len});
  const XlaShape logsumexp = CompactShape("f32", dims);
  const bool is_sum = logsumexp == RowMajorShape("f32", dims);
  if (is_sum) {
    AddSum(list, logsumexp);
  } else {
    AddSlice(list, logsumexp);
  }
  list.AddReturned(logsumexp);
  Dims written = dims;
  written.push_back(kLanes);
  list.AddKernelResult(list.AddTemporary("logsumexp of the kernel",
                                         RowMajorShape("f32", std::move(written)),
                                         Lifetime::kResult)
                           .shape);
  return is_sum;
}

}  // namespace

ProgramBuffers ForwardBuffers(const ProgramCall& call) {
  BufferList list(call);
  list.AddInputs();
  list.AddSinks();
  list.AddTables();
  const int64_t block_q = list.blocks().q;
  list.AddScratch("m of a block", {block_q, kLanes});
  list.AddScratch("l of a block", {block_q, kLanes});
  list.AddScratch("accumulator of a block", {block_q, call.config.head_dim_v});
  list.AddResult("out", list.QueryDims(call.config.head_dim_v));
  const bool has_reduction = call.kernel == TpuKernel::kFwdResiduals && AddLogsumexp(list);
  return list.Finish(has_reduction);
}

}  // namespace splashmask
