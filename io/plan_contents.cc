// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/plan_contents.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <utility>

#include "splashmask/io/content_reader.h"
#include "splashmask/io/stored_fields.h"
#include "splashmask/io/tokamax_contents.h"
#include "splashmask/masks/parse.h"

namespace splashmask {

namespace {

using hdf5::DatasetInfo;

class Reader {
 public:
  Reader(const PosixFile& file, const Progress& progress) : file_(file), content_(file, progress) {}

  PlanContents Read() {
    const hdf5::File content(file_, ErrorCode::kDamaged);
    const hdf5::Group root = content.root();
    const int64_t version = ReadVersion(root);
    ExpectAttributes(root, {"format", "format_version", "mask_digest", "plan_digest",
                            "content_digest", "created_with"});
    ExpectMembers(root, {"mask", "options"}, {"fwd", "dq", "dkv", kTokamax});
    Plan plan{ReadMask(root.OpenGroup("mask")), {}, {}, {}, {}};
    plan.options = ReadOptions(root.OpenGroup("options"), plan);
    for (Pass pass : kAllPasses) {
      const std::string name(PassName(pass));
      if (root.Has(name)) plan.pass(pass) = ReadPass(root.OpenGroup(name), plan, pass);
    }
    if (root.Has(kTokamax)) ReadTokamax(root.OpenGroup(kTokamax), content_, &plan);
    PlanDigests digests{ReadDigest(root, "mask_digest"), ReadDigest(root, "plan_digest"),
                        ReadDigest(root, "content_digest")};
    return {std::move(plan), std::move(digests), version,
            Printable(root.TextAttribute("created_with"))};
  }

 private:
  int64_t ReadVersion(const hdf5::Group& root) {
    if (const std::string format = root.TextAttribute("format"); format != "splashmask") {
      root.Fail(fmt::format("expected the format 'splashmask', got '{}'", Printable(format)));
    }
    const int64_t version = PositiveAttribute(root, "format_version");
    if (version > kPlanFormatVersion) {
      throw Error(ErrorCode::kNewerFormat,
                  file_.Message(fmt::format("expected plan format version {} or older, got {}; a "
                                            "newer splashmask wrote this file, and can read it",
                                            kPlanFormatVersion, version)));
    }
    return version;
  }

  static std::string ReadDigest(const hdf5::Group& root, const char* name) {
    std::string digest = root.TextAttribute(name);
    if (digest.size() != 64 || digest.find_first_not_of("0123456789abcdef") != std::string::npos) {
      root.Fail(fmt::format("expected {} to be 64 hex digits, got '{}'", name, Printable(digest)));
    }
    return digest;
  }

  MultiHeadMask ReadMask(const hdf5::Group& group) {
    ExpectAttributes(group, {"q_len", "kv_len", "num_heads"});
    ExpectMembers(group, {"expression", "data"});
    const Shape shape{PositiveAttribute(group, "q_len"), PositiveAttribute(group, "kv_len")};
    const int64_t num_heads = PositiveAttribute(group, "num_heads");
    const std::string text = content_.ReadText(group, "expression");
    const hdf5::Group data = group.OpenGroup("data");
    std::map<std::string, std::pair<Array, bool>> arrays;  // And whether the text names it.
    for (const std::string& name : data.Names()) {
      arrays.emplace("sha256:" + name, std::pair(content_.ReadArray(data, name), false));
    }
    const auto resolve = [&](const std::string& name) {
      const auto found = arrays.find(name);
      if (found == arrays.end())
        data.Fail(fmt::format("expected an array '{}', got none", Printable(name)));
      found->second.second = true;
      return found->second.first;
    };
    MultiHeadMask mask = ParseStored(
        group, "expression", [&] { return ParseMultiHeadMask(text, shape, num_heads, resolve); });
    for (const auto& [name, array] : arrays) {
      if (!array.second)
        data.Fail(fmt::format("expected no array '{}' beside the mask's", Printable(name)));
    }
    return mask;
  }

  PlanOptions ReadOptions(const hdf5::Group& group, const Plan& plan) {
    ExpectAttributes(group, {"dialect", "head_shards", "q_seq_shards", "downcast_smem_data",
                             "shrink_grid", "simplify", "use_fused_bwd_kernel"});
    ExpectMembers(group, {});
    if (const std::string dialect = group.TextAttribute("dialect"); dialect != "jax") {
      group.Fail(fmt::format("expected the dialect 'jax', got '{}'", Printable(dialect)));
    }
    PlanOptions options;
    options.head_shards = PositiveAttribute(group, "head_shards");
    options.q_seq_shards = PositiveAttribute(group, "q_seq_shards");
    options.downcast_smem_data = group.BoolAttribute("downcast_smem_data");
    options.shrink_grid = group.BoolAttribute("shrink_grid");
    options.simplify = group.BoolAttribute("simplify");
    options.use_fused_bwd_kernel = group.BoolAttribute("use_fused_bwd_kernel");
    ExpectDivides(group, "head_shards", options.head_shards, plan.mask.num_heads());
    ExpectDivides(group, "q_seq_shards", options.q_seq_shards, plan.mask.shape().q_len);
    return options;
  }

  CompiledPass ReadPass(const hdf5::Group& group, const Plan& plan, Pass which) {
    ExpectAttributes(group, {"block_q", "block_kv"});
    ExpectMembers(
        group, {},
        {kDataNext, kMaskNext, kBlockMask, kPartialMaskBlocks, kQSequence, kMaskFunction});
    const Shape shape = plan.mask.shape();
    CompiledPass pass;
    pass.block = {PositiveAttribute(group, "block_q"), PositiveAttribute(group, "block_kv")};
    ExpectDivides(group, "block_q", pass.block.q, shape.q_len / plan.options.q_seq_shards);
    ExpectDivides(group, "block_kv", pass.block.kv, shape.kv_len);

    pass.info.data_next = ReadTable(group, kDataNext, plan, which, pass.block);
    pass.info.mask_next = ReadTable(group, kMaskNext, plan, which, pass.block);
    pass.info.block_mask = ReadTable(group, kBlockMask, plan, which, pass.block);
    ExpectSameShape(group, pass.info);
    const bool transposed = which == Pass::kDkv;
    pass.info.partial_mask_blocks =
        content_.ReadPartialBlocks(group, transposed ? pass.block.kv : pass.block.q,
                                   transposed ? pass.block.q : pass.block.kv);
    pass.info.q_sequence = content_.ReadQSequence(group, shape.q_len);
    pass.mask_function = content_.ReadMaskFunction(group, shape);
    return pass;
  }

  static void ExpectSameShape(const hdf5::Group& group, const MaskInfo& info) {
    const std::array<int64_t, 3>* first = nullptr;
    for (const std::optional<Table>* table : {&info.data_next, &info.mask_next, &info.block_mask}) {
      if (!*table) continue;
      if (first != nullptr && *first != (*table)->shape()) {
        group.Fail("expected data_next, mask_next and block_mask to have one shape, got several");
      }
      first = &(*table)->shape();
    }
  }

  // A table has one plane for each head or head shard. Its rows and columns are those of the grid,
  // but shrinking can leave fewer columns (fwd, dq) or rows (dkv).
  std::optional<Table> ReadTable(const hdf5::Group& group, const char* name, const Plan& plan,
                                 Pass which, BlockShape block) {
    if (!group.Has(name)) return std::nullopt;
    const hdf5::Dataset dataset = group.OpenDataset(name);
    const DatasetInfo info = content_.DescribeStored(dataset);
    if (info.dtype != DType::kInt8 && info.dtype != DType::kInt16 && info.dtype != DType::kInt32) {
      dataset.Fail(fmt::format("expected int8, int16 or int32, got {}", info.type_name));
    }
    const int64_t rows = plan.mask.shape().q_len / block.q;
    const int64_t columns = plan.mask.shape().kv_len / block.kv;
    const std::vector<int64_t>& got = info.shape;
    const bool is_dkv = which == Pass::kDkv;
    const bool fits =
        got.size() == 3 &&
        (got[0] == plan.mask.num_heads() || got[0] == plan.options.head_shards) &&
        (is_dkv ? got[1] >= 1 && got[1] <= rows && got[1] % plan.options.q_seq_shards == 0
                : got[1] == rows) &&
        (is_dkv ? got[2] == columns : got[2] >= 1 && got[2] <= columns);
    if (!fits) {
      dataset.Fail(fmt::format(
          "expected a table of {} or {} planes for a grid of {} x {} blocks, "
          "got shape {}",
          plan.options.head_shards, plan.mask.num_heads(), rows, columns, ShapeText(got)));
    }
    Table table(*info.dtype, {got[0], got[1], got[2]});
    content_.ReadBytes(*info.extent, table.data());
    return table;
  }

  const PosixFile& file_;
  const ContentReader content_;
};

}  // namespace

PlanContents ReadContents(const PosixFile& file, const Progress& progress) {
  return Reader(file, progress).Read();
}

}  // namespace splashmask
