// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/pass_maker.h"

#include <utility>

namespace splashmask {

PassMaker::PassMaker(const HeadMasks& heads, const PlanOptions& options)
    : heads_(heads), options_(options) {
  if (heads.unique.size() != 1) return;
  computable_ = FindComputable(heads.unique.front(), options.simplify);
}

bool PassMaker::MayShrink(Pass pass) const {
  const bool unshrunk_dkv = pass == Pass::kDkv && options_.use_fused_bwd_kernel;
  return options_.shrink_grid && !unshrunk_dkv && heads_.unique.size() == 1;
}

TableInputs PassMaker::InputsOf(Pass pass, const std::vector<BlockGrid>& grids,
                                int64_t num_partial) const {
  return {heads_,
          grids,
          options_.q_seq_shards,
          options_.downcast_smem_data,
          MayShrink(pass),
          is_computable() ? 0 : num_partial};
}

CompiledPass PassMaker::Make(BlockShape block, Pass pass, const std::vector<BlockGrid>& grids,
                             int64_t num_partial, std::optional<PartialMaskBlocks> blocks) {
  const TableInputs in = InputsOf(pass, grids, num_partial);
  NextTables tables = pass == Pass::kDkv ? BuildDkvTables(in) : BuildFwdTables(in);
  CompiledPass result{block, {}, std::nullopt};
  result.info.data_next = std::move(tables.data_next);
  result.info.mask_next = std::move(tables.mask_next);
  result.info.block_mask = std::move(tables.block_mask);
  result.info.partial_mask_blocks = std::move(blocks);
  if (computable_) {
    if (!computable_->q_sequence) {
      computable_->q_sequence = RowNumbers(heads_.unique.front().shape().q_len);
    }
    result.info.q_sequence = computable_->q_sequence;
    result.mask_function = computable_->function;
  }
  return result;
}

}  // namespace splashmask
