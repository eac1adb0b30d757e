// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/coarse_plans.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/simplify.h"
#include "splashmask/planner/compile/check_options.h"
#include "splashmask/planner/compile/coarse_grids.h"
#include "splashmask/planner/compile/partial_blocks.h"
#include "splashmask/planner/compile/pass_maker.h"
#include "splashmask/planner/threads.h"

namespace splashmask {

namespace {

NumberedGrids FindGrids(const HeadMasks& heads, BlockShape block, bool is_numbered,
                        const Progress& progress) {
  NumberedGrids found{{}, is_numbered, 0};
  PartialBlocks partial(block, {.bits = is_numbered, .transpose = false});
  Counters counters;
  const double each = 1.0 / static_cast<double>(heads.unique.size());
  for (size_t i = 0; i < heads.unique.size(); ++i) {
    const double before = static_cast<double>(i) * each;
    found.grids.push_back(partial.Find(*Analyze(heads.unique[i]), nullptr,
                                       progress.Part(before, before + each), counters));
  }
  found.num_partial = partial.count();
  return found;
}

void CheckMultiple(const char* name, int64_t value, int64_t finest) {
  if (value % finest == 0) return;
  Expected("compile",
           fmt::format("{} ({}) to be a multiple of the finest ({})", name, value, finest));
}

// A lower bound, of the smallest types.
int64_t LeastBytes(const TableInputs& in, bool is_dkv) {
  const int64_t entries =
      is_dkv ? in.q_seq_shards * DkvHeight(in) * in.columns() : in.rows() * FwdWidth(in);
  const int64_t tables = in.num_partial > 0 ? 3 : 2;
  return std::ssize(in.heads.table_heads) * entries * tables * (in.downcast ? 1 : 4);
}

int64_t BytesOf(const MaskInfo& info) {
  return info.data_next->size_bytes() + info.block_mask->size_bytes() +
         (info.mask_next ? info.mask_next->size_bytes() : 0);
}

// Along one axis, how many blocks of a size a block of another may touch.
int64_t Touched(int64_t block, int64_t size) {
  if (size % block == 0) return 1;
  return block % size == 0 ? block / size : block / size + 2;
}

}  // namespace

class CoarsePlans::State {
 public:
  State(const MultiHeadMask& mask, BlockShape finest, const PlanOptions& options, int threads,
        const Progress& progress)
      : mask_(mask),
        finest_(finest),
        options_(WithKernels(options, /*fused=*/false)),
        threads_(threads),
        heads_(GroupHeads(options.simplify ? Simplify(mask) : mask, options.head_shards)),
        fused_options_(WithKernels(options, /*fused=*/true)),
        maker_(heads_, options_),
        fused_maker_(heads_, fused_options_),
        grids_(Classified(progress)),
        visible_blocks_(grids_.CountVisible()) {}

  std::optional<Plan> Find(Pass pass, BlockShape block, bool is_fused, int64_t most_bytes) {
    CheckDivides("compile", "block_q", block.q, "q_len", mask_.shape().q_len);
    CheckDivides("compile", "block_kv", block.kv, "kv_len", mask_.shape().kv_len);
    CheckMultiple("block_q", block.q, finest_.q);
    CheckMultiple("block_kv", block.kv, finest_.kv);
    const bool is_dkv = pass == Pass::kDkv;
    PassMaker& maker = is_fused && is_dkv ? fused_maker_ : maker_;
    const NumberedGrids& found = GridsOf(block);
    const TableInputs in = maker.InputsOf(pass, found.grids, found.num_partial);
    if (LeastBytes(in, is_dkv) > most_bytes) return std::nullopt;
    Plan plan{mask_, is_fused ? fused_options_ : options_, {}, {}, {}};
    std::optional<PartialMaskBlocks> without_bits;
    if (found.num_partial > 0) {
      const auto [rows, columns] =
          is_dkv ? std::pair(block.kv, block.q) : std::pair(block.q, block.kv);
      without_bits = PartialMaskBlocks({found.num_partial}, rows, columns, nullptr);
    }
    RunWithThreads(threads_, [&] {
      plan.pass(pass) =
          maker.Make(block, pass, found.grids, found.num_partial, std::move(without_bits));
    });
    if (BytesOf(plan.pass(pass)->info) > most_bytes) return std::nullopt;
    return plan;
  }

  // An entry of two tables for each block that is visible, or that there is.
  int64_t LeastTableBytes(BlockShape block) const {
    const Shape shape = mask_.shape();
    int64_t entries = shape.q_len / block.q * (shape.kv_len / block.kv);
    if (maker_.MayShrink(Pass::kFwd)) {
      entries = visible_blocks_ / (Touched(block.q, finest_.q) * Touched(block.kv, finest_.kv));
    }
    return 2 * std::ssize(heads_.table_heads) * entries * (options_.downcast_smem_data ? 1 : 4);
  }

 private:
  static PlanOptions WithKernels(PlanOptions options, bool fused) {
    options.use_fused_bwd_kernel = fused;
    return options;
  }

  NumberedGrids Classified(const Progress& progress) const {
    NumberedGrids found;
    RunWithThreads(threads_,
                   [&] { found = FindGrids(heads_, finest_, !maker_.is_computable(), progress); });
    return found;
  }

  // Passes are asked for one after another with the same blocks.
  const NumberedGrids& GridsOf(BlockShape block) {
    if (!(block == last_block_)) {
      last_ = grids_.Merge(block.q / finest_.q, block.kv / finest_.kv);
      last_block_ = block;
    }
    return last_;
  }

  const MultiHeadMask mask_;
  const BlockShape finest_;
  const PlanOptions options_;
  const int threads_;
  const HeadMasks heads_;
  const PlanOptions fused_options_;
  PassMaker maker_, fused_maker_;
  CoarseGrids grids_;
  const int64_t visible_blocks_;  // Of the finest.
  BlockShape last_block_;
  NumberedGrids last_;
};

CoarsePlans::CoarsePlans(const MultiHeadMask& mask, BlockShape finest, const PlanOptions& options,
                         int threads, const Progress& progress) {
  CompileOptions checked;
  checked.fwd = finest;
  checked.plan = options;
  checked.threads = threads;
  CheckOptions(mask, checked);
  state_ = std::make_unique<State>(mask, finest, options, threads, progress);
}
CoarsePlans::CoarsePlans(CoarsePlans&&) noexcept = default;
CoarsePlans& CoarsePlans::operator=(CoarsePlans&&) noexcept = default;
CoarsePlans::~CoarsePlans() = default;

std::optional<Plan> CoarsePlans::Find(Pass pass, BlockShape block, bool is_fused,
                                      int64_t most_bytes) {
  return state_->Find(pass, block, is_fused, most_bytes);
}

int64_t CoarsePlans::LeastTableBytes(BlockShape block) const {
  return state_->LeastTableBytes(block);
}

}  // namespace splashmask
