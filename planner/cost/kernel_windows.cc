// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/kernel_windows.h"

#include <utility>

#include "splashmask/planner/cost/tiles.h"

namespace splashmask {

namespace {

// Collects windows.
class WindowList {
 public:
  WindowList(const AttentionConfig& config, const KernelBlocks& blocks)
      : config_(config), blocks_(blocks), element_bytes_(OperandBytes(config.dtype)) {}

  // Rows are positions, of which the whole operand has `length` in each of so many arrays.
  void Add(std::string_view name, int64_t arrays, int64_t length, int64_t rows, int64_t columns,
           int64_t element_bytes) {
    windows_.push_back({name, rows, columns, element_bytes, 2,
                        arrays * BytesInTiles(length, columns, element_bytes)});
  }
  // Columns are positions.
  void AddTransposed(std::string_view name, int64_t arrays, int64_t length, int64_t rows,
                     int64_t columns, int64_t element_bytes) {
    // A single row lies in tiles of one sublane, where it is a whole operand's.
    const int64_t of_array = rows == 1 ? RoundedUp(length, kLanes) * element_bytes
                                       : BytesInTiles(rows, length, element_bytes);
    windows_.push_back({name, rows, columns, element_bytes, 2, arrays * of_array});
  }
  void AddInLayout(std::string_view name, QkvLayout layout, int64_t heads, int64_t length,
                   int64_t positions, int64_t head_dim) {
    const int64_t arrays = config_.batch * heads;
    if (layout == QkvLayout::kHeadDimMinor) {
      Add(name, arrays, length, positions, head_dim, element_bytes_);
    } else {
      AddTransposed(name, arrays, length, head_dim, positions, element_bytes_);
    }
  }
  // A result of one block, which stays where it is; a batch of them is copied like others.
  void AddAccumulator(std::string_view name, int64_t rows, int64_t columns) {
    windows_.push_back({name, rows, columns, 4, config_.batch > 1 ? 2 : 1, 0});
  }
  void AddQkv() {
    const BlockSizes& sizes = config_.block_sizes;
    AddInLayout("q", sizes.q_layout, config_.heads, config_.q_len, blocks_.q, config_.head_dim);
    AddInLayout("k", sizes.k_layout, config_.kv_heads, config_.kv_len, blocks_.kv,
                config_.head_dim);
    AddInLayout("v", sizes.v_layout, config_.kv_heads, config_.kv_len, blocks_.kv,
                config_.head_dim_v);
  }
  // Of ids or positions, as int32: along lanes they are repeated in every sublane, along sublanes
  // in every lane.
  void AddPositions(std::string_view name, int64_t arrays, int64_t length, int64_t block,
                    bool in_lanes) {
    if (in_lanes) {
      AddTransposed(name, arrays, length, kSublanes, block, 4);
    } else {
      Add(name, arrays, length, block, kLanes, 4);
    }
  }
  void AddSegmentIds(bool q_in_lanes) {
    if (!config_.segments) return;
    AddPositions("q_segment_ids", config_.batch, config_.q_len, blocks_.q, q_in_lanes);
    AddPositions("kv_segment_ids", config_.batch, config_.kv_len, blocks_.kv, !q_in_lanes);
  }
  // One array, whatever the batch.
  void AddQSequence(const PassTables& tables, bool in_lanes) {
    if (tables.has_q_sequence) AddPositions("q_sequence", 1, config_.q_len, blocks_.q, in_lanes);
  }
  // Of q rows and of the output's gradient.
  void AddRowValues(int64_t sublanes) {
    const int64_t arrays = config_.batch * config_.heads, length = config_.q_len;
    AddTransposed("logsumexp", arrays, length, sublanes, blocks_.q, 4);
    Add("do", arrays, length, blocks_.q, config_.head_dim_v, element_bytes_);
    AddTransposed("di", arrays, length, sublanes, blocks_.q, 4);
  }
  // Bools lie in VMEM as 32-bit words.
  void AddMask(const PassTables& tables, int64_t rows, int64_t columns) {
    if (tables.partial_blocks == 0) return;
    Add("partial_mask_blocks", tables.partial_blocks, rows, rows, columns, 4);
  }
  void AddResult(std::string_view name, int64_t heads, int64_t length, int64_t block,
                 int64_t head_dim) {
    Add(name, config_.batch * heads, length, block, head_dim, element_bytes_);
  }

  std::vector<KernelWindow> Take() { return std::move(windows_); }

 private:
  const AttentionConfig& config_;
  const KernelBlocks blocks_;
  const int64_t element_bytes_;
  std::vector<KernelWindow> windows_;
};

std::vector<KernelWindow> ForwardWindows(bool has_residuals, const AttentionConfig& config,
                                         const PassTables& tables) {
  const KernelBlocks blocks = BlocksOf(config.block_sizes, TpuKernel::kFwd);
  WindowList windows(config, blocks);
  windows.AddQkv();
  windows.AddSegmentIds(/*q_in_lanes=*/false);
  windows.AddMask(tables, blocks.q, blocks.kv);
  windows.AddQSequence(tables, /*in_lanes=*/false);
  windows.AddAccumulator("m", blocks.q, kLanes);
  windows.AddAccumulator("l", blocks.q, kLanes);
  windows.AddAccumulator("o", blocks.q, config.head_dim_v);
  windows.AddResult("out", config.heads, config.q_len, blocks.q, config.head_dim_v);
  if (has_residuals) {
    windows.Add("logsumexp", config.batch * config.heads, config.q_len, blocks.q, kLanes, 4);
  }
  return windows.Take();
}

std::vector<KernelWindow> DqWindows(const AttentionConfig& config, const PassTables& tables) {
  const KernelBlocks blocks = BlocksOf(config.block_sizes, TpuKernel::kDq);
  WindowList windows(config, blocks);
  windows.AddQkv();
  windows.AddSegmentIds(/*q_in_lanes=*/false);
  windows.AddRowValues(/*sublanes=*/1);
  windows.AddMask(tables, blocks.q, blocks.kv);
  windows.AddQSequence(tables, /*in_lanes=*/false);
  windows.AddAccumulator("dq_sum", blocks.q, config.head_dim);
  windows.AddResult("dq", config.heads, config.q_len, blocks.q, config.head_dim);
  return windows.Take();
}

std::vector<KernelWindow> DkvWindows(bool is_fused, const AttentionConfig& config,
                                     const PassTables& tables) {
  const KernelBlocks blocks = BlocksOf(config.block_sizes, TpuKernel::kDkv);
  WindowList windows(config, blocks);
  windows.AddQkv();
  windows.AddSegmentIds(/*q_in_lanes=*/true);
  windows.AddRowValues(kSublanes);
  windows.AddMask(tables, blocks.kv, blocks.q);
  windows.AddQSequence(tables, /*in_lanes=*/true);
  // Where one compute block is the whole, dq goes to its result at once.
  if (is_fused && blocks.kv != blocks.kv_compute) {
    windows.AddAccumulator("dq_sum", blocks.q, config.head_dim);
  }
  windows.AddAccumulator("dk_sum", blocks.kv, config.head_dim);
  windows.AddAccumulator("dv_sum", blocks.kv, config.head_dim_v);
  if (is_fused) {
    windows.AddResult("dq", config.kv_len / blocks.kv * config.heads, config.q_len, blocks.q,
                      config.head_dim);
  }
  windows.AddResult("dk", config.kv_heads, config.kv_len, blocks.kv, config.head_dim);
  windows.AddResult("dv", config.kv_heads, config.kv_len, blocks.kv, config.head_dim_v);
  return windows.Take();
}

}  // namespace

int64_t KernelWindow::bytes() const { return buffers * BytesInTiles(rows, columns, element_bytes); }

std::vector<KernelWindow> KernelWindows(TpuKernel kernel, const AttentionConfig& config,
                                        const PassTables& tables) {
  switch (kernel) {
    case TpuKernel::kFwd:
    case TpuKernel::kFwdResiduals:
      return ForwardWindows(kernel == TpuKernel::kFwdResiduals, config, tables);
    case TpuKernel::kDq:
      return DqWindows(config, tables);
    case TpuKernel::kDkv:
    case TpuKernel::kFused:
      return DkvWindows(kernel == TpuKernel::kFused, config, tables);
  }
  return {};
}

}  // namespace splashmask
