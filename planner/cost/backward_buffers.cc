// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/backward_buffers.h"

#include <utility>

#include "splashmask/planner/cost/tiles.h"
#include "splashmask/planner/cost/tpu_layout.h"

namespace splashmask {

namespace {

using Dims = BufferList::Dims;

// In row-major order, without axes of one element before the last ones.
XlaShape WithoutUnitAxes(std::string_view dtype, const Dims& dims, int64_t last) {
  Dims kept(dims.begin(), dims.end() - last);
  std::erase(kept, 1);
  kept.insert(kept.end(), dims.end() - last, dims.end());
  return RowMajorShape(dtype, std::move(kept));
}

// Of arrays in row-major order that differ in axes of one element. Rows of more than a tile's lanes
// lie one behind the other only where a tile has one row.
bool LiesAlike(const XlaShape& a, const XlaShape& b) {
  const auto rows = [](const XlaShape& shape) {
    return shape.dims.size() < 2 ? 1 : shape.layout->tiles[0][0];
  };
  return TiledBytes(a) == TiledBytes(b) &&
         (a.dims.back() <= kLanes || (rows(a) == 1 && rows(b) == 1));
}

// Values of each row of q: logsumexp, and di, the sum of out * do.
class RowValues {
 public:
  explicit RowValues(BufferList& list)
      : list_(list),
        argument_(CompactShape("f32", list.Batched({list.config().heads, list.config().q_len}))),
        plain_(WithoutUnitAxes("f32", argument_.dims, 1)) {
    Dims dims = argument_.dims;
    dims.insert(dims.end() - 1, list.q_is_in_lanes() ? kSublanes : 1);
    operand_ = RowMajorShape("f32", std::move(dims));
  }

  void AddLogsumexp() {
    list_.Add("logsumexp", BufferKind::kArgument, argument_);
    const bool is_row_major = argument_ == RowMajorShape("f32", argument_.dims);
    const bool is_operand = is_row_major && LiesAlike(argument_, operand_);
    if (is_operand) return;
    std::optional<size_t> copy;
    if (list_.q_is_in_lanes()) copy = AddCopy(is_row_major);
    list_.AddTemporary(list_.q_is_in_lanes() ? "logsumexp, broadcast" : "logsumexp for the kernel",
                       operand_, Lifetime::kOperand, copy);
  }

  void AddDi() {
    if (list_.chip().name == "tpu7x") {  // It has another fusion for that.
      list_.AddSummandsWithoutLayout();
    } else {
      list_.AddSummands("f32");
    }
    const BufferList::Temporary di = list_.AddTemporary("di", plain_);
    if (LiesAlike(plain_, operand_)) return;
    list_.AddTemporary(list_.q_is_in_lanes() ? "di, broadcast" : "di for the kernel", operand_,
                       Lifetime::kOperand, di.index);
  }

 private:
  // XLA broadcasts what is in row-major order without axes of one element.
  std::optional<size_t> AddCopy(bool is_row_major) {
    const AttentionConfig& config = list_.config();
    if (is_row_major && LiesAlike(argument_, plain_)) return std::nullopt;
    const char* const name = "logsumexp once more";
    if (config.heads > 1) {
      if (is_row_major) return std::nullopt;
      return list_.AddTemporary(name, RowMajorShape("f32", argument_.dims)).index;
    }
    if (config.batch > 1) {
      return list_.AddTemporary(name, TiledShape("f32", argument_.dims, {2, 0, 1})).index;
    }
    list_.AddSummandsWithoutLayout();  // Here the copy is a sum over one row.
    list_.Add("zero", BufferKind::kConstant, RowMajorShape("f32", {}));
    return list_.AddTemporary(name, plain_).index;
  }

  BufferList& list_;
  const XlaShape argument_, plain_;
  XlaShape operand_;
};

// The fused kernel writes a dq for each kv block; they are summed after it.
void AddDqOfKvBlocks(BufferList& list) {
  const AttentionConfig& config = list.config();
  const int64_t count = config.kv_len / list.blocks().kv;
  const std::string_view dtype = XlaName(config.dtype);
  const XlaShape dq = RowMajorShape(dtype, list.QueryDims(config.head_dim));
  const XlaShape output = CompactShape(dtype, dq.dims);
  const XlaShape parts =
      RowMajorShape(dtype, list.Batched({count, config.heads, config.q_len, config.head_dim}));
  list.AddReturned(output);
  list.AddKernelResult(parts);
  const bool is_moved = dq != output;
  if (count == 1) {
    list.Add("dq", BufferKind::kOutput, is_moved ? output : parts);
    if (is_moved) list.AddTemporary("dq of the kernel", parts, Lifetime::kResult);
    return;
  }
  list.AddTemporary("dq of each kv block", parts, Lifetime::kResult);
  list.Add("zero", BufferKind::kConstant, RowMajorShape(dtype, {}));
  list.AddSummands(dtype);
  const XlaShape sum = WithoutUnitAxes(dtype, dq.dims, 2);
  list.Add("dq", BufferKind::kOutput, is_moved ? output : sum);
  if (is_moved) list.AddTemporary("dq, summed", sum, Lifetime::kAfterwards);
}

void AddGradients(BufferList& list, TpuKernel kernel) {
  const AttentionConfig& config = list.config();
  const KernelBlocks blocks = list.blocks();
  const bool is_fused = kernel == TpuKernel::kFused;
  if (kernel == TpuKernel::kDq || (is_fused && blocks.kv_compute != blocks.kv)) {
    list.AddScratch("dq of a block", {blocks.q, config.head_dim});
  }
  if (kernel == TpuKernel::kDq) return list.AddResult("dq", list.QueryDims(config.head_dim));
  list.AddScratch("dk of a block", {blocks.kv, config.head_dim});
  list.AddScratch("dv of a block", {blocks.kv, config.head_dim_v});
  if (is_fused) AddDqOfKvBlocks(list);
  list.AddResult("dk", list.KeyDims(config.head_dim));
  list.AddResult("dv", list.KeyDims(config.head_dim_v));
}

}  // namespace

ProgramBuffers BackwardBuffers(const ProgramCall& call) {
  BufferList list(call);
  list.AddInputs();
  const Dims out = list.QueryDims(call.config.head_dim_v);
  list.Add("out", BufferKind::kArgument, CompactShape(XlaName(call.config.dtype), out));
  list.AddSequenceArgument("do", out, QkvLayout::kHeadDimMinor);
  list.AddTables();
  RowValues rows(list);
  rows.AddLogsumexp();
  rows.AddDi();
  list.AddSinks();
  AddGradients(list, call.kernel);
  return list.Finish(/*has_reduction=*/true);
}

}  // namespace splashmask
