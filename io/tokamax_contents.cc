// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/tokamax_contents.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include "splashmask/io/stored_fields.h"

namespace splashmask {

namespace {

class PassReader {
 public:
  PassReader(const hdf5::Group& group, const ContentReader& content, Shape shape, bool is_dkv)
      : group_(group), content_(content), shape_(shape), is_dkv_(is_dkv) {}

  TokamaxPass Read() {
    ExpectAttributes(group_, {"block_q", "block_kv", "q_seq_shards", "kv_seq_shards",
                              "downcast_smem_data", "return_dynamic_grid", "simplify"});
    ExpectMembers(group_, {},
                  {kMaskNext, kActiveRows, kActiveCols, kBlockMask, kNumActiveBlocks,
                   kPartialMaskBlocks, kQSequence, kMaskFunction});
    TokamaxPass pass;
    pass.options = options_ = ReadOptions();
    if (!options_.return_dynamic_grid) ExpectNoDynamicLists();
    pass.info.mask_next = ReadList(kMaskNext);
    pass.info.active_rows = ReadList(kActiveRows);
    pass.info.active_cols = ReadList(kActiveCols);
    pass.info.block_mask = ReadList(kBlockMask);
    pass.info.num_active_blocks = ReadCounts();
    const BlockShape block = options_.block;
    pass.info.partial_mask_blocks = content_.ReadPartialBlocks(group_, is_dkv_ ? block.kv : block.q,
                                                               is_dkv_ ? block.q : block.kv);
    pass.info.q_sequence = content_.ReadQSequence(group_, shape_.q_len);
    pass.mask_function = content_.ReadMaskFunction(group_, shape_);
    return pass;
  }

 private:
  TokamaxPassOptions ReadOptions() const {
    TokamaxPassOptions options;
    options.block = {PositiveAttribute(group_, "block_q"), PositiveAttribute(group_, "block_kv")};
    options.q_seq_shards = PositiveAttribute(group_, "q_seq_shards");
    options.kv_seq_shards = PositiveAttribute(group_, "kv_seq_shards");
    options.downcast_smem_data = group_.BoolAttribute("downcast_smem_data");
    options.return_dynamic_grid = group_.BoolAttribute("return_dynamic_grid");
    options.simplify = group_.BoolAttribute("simplify");
    ExpectDivides(group_, "q_seq_shards", options.q_seq_shards, shape_.q_len);
    ExpectDivides(group_, "kv_seq_shards", options.kv_seq_shards, shape_.kv_len);
    ExpectDivides(group_, "block_q", options.block.q, shape_.q_len / options.q_seq_shards);
    ExpectDivides(group_, "block_kv", options.block.kv, shape_.kv_len / options.kv_seq_shards);
    return options;
  }

  // Products of counts that divide the axes of a mask: q_len * kv_len may be beyond 64 bits.
  __extension__ typedef unsigned __int128 Count;
  Count Shards() const {
    return static_cast<Count>(options_.q_seq_shards) * static_cast<Count>(options_.kv_seq_shards);
  }
  Count Blocks() const {
    return static_cast<Count>(shape_.q_len / options_.block.q) *
           static_cast<Count>(shape_.kv_len / options_.block.kv);
  }

  // The shards have lists of one length, and a static grid has every block in them.
  std::optional<Array> ReadList(const char* name) {
    if (!group_.Has(name)) return std::nullopt;
    const hdf5::Dataset dataset = group_.OpenDataset(name);
    const hdf5::DatasetInfo info = content_.DescribeStored(dataset);
    if (info.dtype != DType::kInt8 && info.dtype != DType::kInt16 && info.dtype != DType::kInt32) {
      dataset.Fail(fmt::format("expected int8, int16 or int32, got {}", info.type_name));
    }
    const Count size = info.shape.size() == 1 ? static_cast<Count>(info.shape[0]) : Blocks() + 1;
    const bool fits =
        options_.return_dynamic_grid ? size <= Blocks() && size % Shards() == 0 : size == Blocks();
    if (!fits) {
      dataset.Fail(fmt::format("expected a list of {} blocks in {} x {} shards, got shape {}",
                               options_.return_dynamic_grid ? "visible" : "all",
                               options_.q_seq_shards, options_.kv_seq_shards,
                               ShapeText(info.shape)));
    }
    if (length_ && *length_ != info.shape[0]) {
      group_.Fail("expected lists of one length, got several");
    }
    length_ = info.shape[0];
    return content_.ReadArray(group_, name);
  }

  std::optional<Array> ReadCounts() const {
    if (!group_.Has(kNumActiveBlocks)) return std::nullopt;
    const hdf5::Dataset dataset = group_.OpenDataset(kNumActiveBlocks);
    const hdf5::DatasetInfo info = content_.DescribeStored(dataset);
    if (info.dtype != DType::kInt32 || info.shape.size() != 1 ||
        static_cast<Count>(info.shape[0]) != Shards()) {
      dataset.Fail(fmt::format("expected int32 for {} x {} shards, got {}{}", options_.q_seq_shards,
                               options_.kv_seq_shards, info.type_name, ShapeText(info.shape)));
    }
    return content_.ReadArray(group_, kNumActiveBlocks);
  }

  void ExpectNoDynamicLists() const {
    for (const char* name : {kActiveRows, kActiveCols, kNumActiveBlocks}) {
      if (!group_.Has(name)) continue;
      group_.Fail(fmt::format("expected no {} without return_dynamic_grid, got one", name));
    }
  }

  const hdf5::Group& group_;
  const ContentReader& content_;
  const Shape shape_;
  const bool is_dkv_;
  TokamaxPassOptions options_;
  std::optional<int64_t> length_;
};

}  // namespace

void ReadTokamax(const hdf5::Group& group, const ContentReader& content, Plan* plan) {
  ExpectAttributes(group, {});
  ExpectMembers(group, {}, {"fwd", "dkv"});
  if (!plan->has_one_mask()) {
    group.Fail("expected one mask for all heads beside tokamax lists, got several");
  }
  for (Pass which : kTokamaxPasses) {
    const std::string name(PassName(which));
    if (!group.Has(name)) continue;
    const hdf5::Group pass = group.OpenGroup(name);
    plan->tokamax_pass(which) =
        PassReader(pass, content, plan->mask.shape(), which == Pass::kDkv).Read();
  }
  if (!plan->has_tokamax()) group.Fail("expected a pass fwd or dkv, got none");
}

}  // namespace splashmask
