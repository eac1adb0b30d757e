// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/plan_contents.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <map>
#include <utility>

#include "splashmask/io/stored_fields.h"
#include "splashmask/masks/parse.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

using hdf5::DatasetInfo;
using hdf5::Extent;
using Names = std::initializer_list<const char*>;

constexpr int64_t kPieceBytes = int64_t{8} << 20;

std::string Join(const std::vector<int64_t>& shape) {
  return fmt::format("({})", fmt::join(shape, ", "));
}

// Text of a file that may be damaged, fit for a message.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

void ExpectNames(const hdf5::Object& object, const char* what, const std::vector<std::string>& got,
                 Names required, Names optional = {}) {
  const auto contains = [](Names names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const std::string& name : got) {
    if (!contains(required, name) && !contains(optional, name)) {
      object.Fail(fmt::format("expected no {} '{}', which format version {} does not have", what,
                              Printable(name), kPlanFormatVersion));
    }
  }
  for (const char* name : required) {
    if (std::find(got.begin(), got.end(), name) == got.end()) {
      object.Fail(fmt::format("expected the {} '{}', got none", what, name));
    }
  }
}

void ExpectMembers(const hdf5::Group& group, Names required, Names optional = {}) {
  ExpectNames(group, "member", group.Names(), required, optional);
}
void ExpectAttributes(const hdf5::Object& object, Names names) {
  ExpectNames(object, "attribute", object.AttributeNames(), names);
}

int64_t PositiveAttribute(const hdf5::Group& group, const char* name) {
  const int64_t value = group.IntAttribute(name);
  if (value < 1) group.Fail(fmt::format("expected {} of 1 at least, got {}", name, value));
  return value;
}

// The factories of masks/ say what is wrong with a stored expression; here that means damage.
template <typename Parse>
auto ParseStored(const hdf5::Group& group, const char* name, Parse&& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kTooLarge) throw;
    group.Fail(
        fmt::format("expected '{}' to be a mask's text, got: {}", name, Printable(error.what())));
  }
}

class Reader {
 public:
  Reader(const PosixFile& file, const Progress& progress)
      : file_(file), file_bytes_(file.Size()), progress_(progress) {}

  PlanContents Read() {
    const hdf5::File content(file_, ErrorCode::kDamaged);
    const hdf5::Group root = content.root();
    const int64_t version = ReadVersion(root);
    ExpectAttributes(root, {"format", "format_version", "mask_digest", "plan_digest",
                            "content_digest", "created_with"});
    ExpectMembers(root, {"mask", "options"}, {"fwd", "dq", "dkv"});
    Plan plan{ReadMask(root.OpenGroup("mask")), {}, {}, {}, {}};
    plan.options = ReadOptions(root.OpenGroup("options"), plan);
    for (Pass pass : kAllPasses) {
      const std::string name(PassName(pass));
      if (root.Has(name)) plan.pass(pass) = ReadPass(root.OpenGroup(name), plan, pass);
    }
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
    const std::string text = ReadText(group, "expression");
    const hdf5::Group data = group.OpenGroup("data");
    std::map<std::string, std::pair<Array, bool>> arrays;  // And whether the text names it.
    for (const std::string& name : data.Names()) {
      arrays.emplace("sha256:" + name, std::pair(ReadArray(data, name), false));
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
    if (group.Has(kPartialMaskBlocks)) {
      const bool transposed = which == Pass::kDkv;
      pass.info.partial_mask_blocks =
          ReadPartialBlocks(group, transposed ? pass.block.kv : pass.block.q,
                            transposed ? pass.block.q : pass.block.kv);
    }
    if (group.Has(kQSequence)) {
      pass.info.q_sequence = ReadArray(group, kQSequence);
      if (!IsInteger(pass.info.q_sequence->dtype()) ||
          pass.info.q_sequence->shape() != std::vector{shape.q_len}) {
        group.Fail(fmt::format("expected q_sequence to be {} integers, got {}{}", shape.q_len,
                               DTypeName(pass.info.q_sequence->dtype()),
                               Join(pass.info.q_sequence->shape())));
      }
    }
    if (group.Has(kMaskFunction)) {
      const std::string text = ReadText(group, kMaskFunction);
      pass.mask_function =
          ParseStored(group, kMaskFunction, [&] { return ParseMask(text, shape); });
    }
    return pass;
  }

  static void ExpectDivides(const hdf5::Group& group, const char* name, int64_t part,
                            int64_t whole) {
    if (whole % part != 0) {
      group.Fail(fmt::format("expected {} ({}) to divide {}", name, part, whole));
    }
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
    const DatasetInfo info = DescribeStored(dataset);
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
      dataset.Fail(
          fmt::format("expected a table of {} or {} planes for a grid of {} x {} blocks, "
                      "got shape {}",
                      plan.options.head_shards, plan.mask.num_heads(), rows, columns, Join(got)));
    }
    Table table(*info.dtype, {got[0], got[1], got[2]});
    ReadBytes(*info.extent, table.data());
    return table;
  }

  PartialMaskBlocks ReadPartialBlocks(const hdf5::Group& group, int64_t rows, int64_t columns) {
    const hdf5::Dataset dataset = group.OpenDataset(kPartialMaskBlocks);
    const DatasetInfo info = DescribeStored(dataset);
    const int64_t row_bytes = (columns + 7) / 8;
    if (info.dtype != DType::kUInt8 || info.shape.size() != 3 || info.shape[1] != rows ||
        info.shape[2] != row_bytes) {
      dataset.Fail(fmt::format("expected uint8(P, {}, {}), got {}{}", rows, row_bytes,
                               info.type_name, Join(info.shape)));
    }
    PartialMaskBlocks blocks({info.shape[0]}, rows, columns);
    ReadBytes(*info.extent, blocks.data());
    CheckPadBits(dataset, blocks.data(), info.shape[0] * rows, columns, 0);
    return blocks;
  }

  // An array that a mask refers to, or q_sequence.
  Array ReadArray(const hdf5::Group& group, const std::string& name) {
    const hdf5::Dataset dataset = group.OpenDataset(name);
    const DatasetInfo info = DescribeStored(dataset);
    if (!info.dtype || !IsInteger(*info.dtype) || info.shape.empty() || info.shape.size() > 2) {
      dataset.Fail(fmt::format("expected integers or packed bools of rank 1 or 2, got {}{}",
                               info.type_name, Join(info.shape)));
    }
    if (!dataset.HasAttribute("dtype")) {
      ExpectAttributes(dataset, {});
      const std::shared_ptr<std::byte> data = AllocateBytes(info.extent->bytes);
      ReadBytes(*info.extent, data.get());
      return Array(*info.dtype, info.shape, data);
    }
    ExpectAttributes(dataset, {"dtype", "shape"});
    const std::vector<int64_t> shape = dataset.IntsAttribute("shape");
    const bool sane = std::all_of(shape.begin(), shape.end(), [](int64_t n) {
      return n >= 0 && n <= std::numeric_limits<int64_t>::max() - 7;
    });
    if (dataset.TextAttribute("dtype") != "bool" || info.dtype != DType::kUInt8 || !sane ||
        PackedShape(shape) != info.shape) {
      dataset.Fail(fmt::format("expected packed bools of shape {}, got {}{}", Join(shape),
                               info.type_name, Join(info.shape)));
    }
    return ReadBools(dataset, info, shape);
  }

  Array ReadBools(const hdf5::Dataset& dataset, const DatasetInfo& info,
                  const std::vector<int64_t>& shape) {
    const int64_t columns = shape.back();
    const int64_t row_bytes = info.shape.back();
    const int64_t rows = row_bytes == 0 ? 0 : info.extent->bytes / row_bytes;
    const std::shared_ptr<std::byte> data = AllocateBytes(rows * columns);
    if (rows == 0) return Array(DType::kBool, shape, data);
    const int64_t rows_per_piece = std::max<int64_t>(1, kPieceBytes / row_bytes);
    const std::shared_ptr<std::byte> piece =
        AllocateBytes(std::min(rows, rows_per_piece) * row_bytes);
    for (int64_t row = 0; row < rows; row += rows_per_piece) {
      const int64_t count = std::min(rows_per_piece, rows - row);
      ReadBytes({info.extent->offset + row * row_bytes, count * row_bytes}, piece.get());
      CheckPadBits(dataset, piece.get(), count, columns, row);
      UnpackBoolRows(piece.get(), count, columns, data.get() + row * columns);
    }
    return Array(DType::kBool, shape, data);
  }

  static void CheckPadBits(const hdf5::Dataset& dataset, const std::byte* packed, int64_t rows,
                           int64_t columns, int64_t first_row) {
    if (columns % 8 == 0) return;
    const int64_t row_bytes = (columns + 7) / 8;
    for (int64_t row = 0; row < rows; ++row) {
      if ((packed[(row + 1) * row_bytes - 1] >> (columns % 8)) != std::byte{0}) {
        dataset.Fail(fmt::format("expected pad bits of 0 after column {}, got a 1 in row {}",
                                 columns, first_row + row));
      }
    }
  }

  std::string ReadText(const hdf5::Group& group, const char* name) {
    const hdf5::Dataset dataset = group.OpenDataset(name);
    const DatasetInfo info = DescribeStored(dataset);
    if (!info.text_bytes) {
      dataset.Fail(fmt::format("expected a UTF-8 string of fixed length, got {}{}", info.type_name,
                               Join(info.shape)));
    }
    std::string text(static_cast<size_t>(*info.text_bytes), '\0');
    ReadBytes(*info.extent, reinterpret_cast<std::byte*>(text.data()));
    return text;
  }

  // Describes a dataset whose bytes all lie in this file, so that nothing bigger gets allocated.
  DatasetInfo DescribeStored(const hdf5::Dataset& dataset) const {
    DatasetInfo info = dataset.Describe();
    if (!info.extent || !info.little_endian ||
        info.extent->bytes > file_bytes_ - info.extent->offset) {
      dataset.Fail(fmt::format("expected contiguous little-endian data inside the file, got {}{}",
                               info.type_name, Join(info.shape)));
    }
    return info;
  }

  void ReadBytes(Extent extent, std::byte* out) const {
    for (int64_t done = 0; done < extent.bytes; done += kPieceBytes) {
      progress_.ThrowIfStopped();
      const int64_t size = std::min(kPieceBytes, extent.bytes - done);
      file_.ReadAt(extent.offset + done, {out + done, static_cast<size_t>(size)});
    }
  }

  const PosixFile& file_;
  const int64_t file_bytes_;
  const Progress& progress_;
};

}  // namespace

PlanContents ReadContents(const PosixFile& file, const Progress& progress) {
  return Reader(file, progress).Read();
}

}  // namespace splashmask
