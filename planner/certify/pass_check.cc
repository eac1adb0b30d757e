// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/certify/pass_check.h"

#include <fmt/format.h>

#include <tuple>
#include <utility>

#include "splashmask/planner/certify/describe.h"
#include "splashmask/planner/certify/partial_blocks.h"

namespace splashmask::certify {

PassCheck::PassCheck(const Plan& plan, Pass pass, const HeadEntries& heads, ProvenGrid& grid,
                     RowProgress& progress)
    : plan_(plan),
      compiled_(*plan.pass(pass)),
      heads_(heads),
      grid_(grid),
      progress_(progress),
      is_dkv_(pass == Pass::kDkv),
      leaf_(ComputedByKernel(heads, plan.options.simplify)),
      layout_(grid.truth, is_dkv_,
              plan.options.shrink_grid && heads.masks.size() == 1 &&
                  !(is_dkv_ && plan.options.use_fused_bwd_kernel),
              plan.options.q_seq_shards) {}

std::optional<Mismatch> PassCheck::Run() {
  const MaskInfo& info = compiled_.info;
  const TableInput input{grid_.truth, heads_, layout_, plan_.options, is_dkv_};
  Result wrong;
  if ((wrong = CheckMaskFunction(leaf_, compiled_.mask_function))) return wrong;
  if ((wrong = CheckQSequence(heads_, leaf_.has_value(), info.q_sequence, &entries_))) return wrong;
  if (info.is_dynamic_mask) return Wrong("is_dynamic_mask", kNone, "True");
  if ((wrong = CheckTable("block_mask", info.block_mask, ExpectedBlockMask(input)))) return wrong;
  if ((wrong = CheckTable("data_next", info.data_next, ExpectedDataNext(input)))) return wrong;
  StoredBlocksCheck blocks(heads_, grid_, is_dkv_, progress_);
  if ((wrong = blocks.Run(info.partial_mask_blocks, leaf_.has_value()))) return wrong;
  if (grid_.reference == nullptr || leaf_) {
    if (info.mask_next) {
      return Wrong("mask_next", kNone,
                   DescribeArray(info.mask_next->dtype(), info.mask_next->shape()));
    }
    return std::nullopt;
  }
  return CheckTable("mask_next", info.mask_next, ExpectedMaskNext(input, grid_.ids));
}

PassCheck::Result PassCheck::CheckTable(const char* name, const std::optional<Table>& got,
                                        const std::vector<int32_t>& expected) {
  const std::string got_type = got ? DescribeArray(got->dtype(), got->shape()) : kNone;
  const int64_t shape[] = {heads_.size(), layout_.rows(), layout_.columns()};
  const std::string expected_type =
      DescribeArray(ExpectedDType(expected, plan_.options.downcast_smem_data), shape);
  if (got_type != expected_type) return Wrong(name, expected_type, got_type);
  entries_ += got->size();
  for (int64_t i = 0; i < got->size(); ++i) {
    const int32_t value = got->At(i);
    if (value == expected[static_cast<size_t>(i)]) continue;
    const int64_t entry = i / (shape[1] * shape[2]), row = i / shape[2] % shape[1],
                  column = i % shape[2];
    Mismatch mismatch =
        Wrong(name, fmt::to_string(expected[static_cast<size_t>(i)]), fmt::to_string(value));
    mismatch.index = {entry, row, column};
    LocateElement(entry, layout_.At(row, column), value, &mismatch);
    return mismatch;
  }
  return std::nullopt;
}

void PassCheck::LocateElement(int64_t entry, const Place& place, int32_t got,
                              Mismatch* mismatch) const {
  if (place.kind != Place::Kind::kBlock) return;
  const BlockAt at{heads_.mask_of_entry[static_cast<size_t>(entry)], place.q_block, place.kv_block};
  mismatch->head = heads_.head_of_entry[static_cast<size_t>(entry)];
  std::tie(mismatch->q, mismatch->kv) = mismatch->table == "block_mask"
                                            ? CellAgainst(grid_.truth, at, got)
                                            : FirstCell(grid_.truth, at);
}

}  // namespace splashmask::certify
