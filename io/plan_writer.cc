// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "splashmask/io/hdf5.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/io/replace_file.h"
#include "splashmask/io/seal.h"
#include "splashmask/io/stored_fields.h"
#include "splashmask/masks/print.h"

namespace splashmask {

namespace {

using hdf5::Extent;

constexpr std::string_view kDigestPrefix = "sha256:";
constexpr size_t kWrittenAtOnce = size_t{8} << 20;

// The arrays that the masks refer to, once each, under their digests.
std::map<std::string, Array> CollectArrays(const MultiHeadMask& mask) {
  std::map<std::string, Array> arrays;
  const Mask* previous = nullptr;
  for (const Mask& head : mask.masks()) {
    if (previous == nullptr || &previous->node() != &head.node()) {
      ForEachArray(head, [&](const Array& array) { arrays.emplace(array.Digest(), array); });
    }
    previous = &head;
  }
  return arrays;
}

class Writer {
 public:
  Writer(const Plan& plan, const PosixFile& file, const Progress& progress)
      : plan_(plan), file_(file), progress_(progress) {}

  void Write(const PlanDigests& digests) {
    hdf5::File content = hdf5::File::Create(file_, kUserBlockBytes);
    {
      const hdf5::Group root = content.root();
      root.SetAttribute("format", "splashmask");
      root.SetAttribute("format_version", kPlanFormatVersion);
      root.SetAttribute("mask_digest", digests.mask_digest);
      root.SetAttribute("plan_digest", digests.plan_digest);
      root.SetAttribute("content_digest", digests.content_digest);
      root.SetAttribute("created_with", "splashmask " SPLASHMASK_VERSION);
      WriteMask(root.CreateGroup("mask"));
      WriteOptions(root.CreateGroup("options"));
      for (Pass pass : kAllPasses) {
        if (!plan_.pass(pass)) continue;
        WritePass(*plan_.pass(pass), root.CreateGroup(std::string(PassName(pass))));
      }
      if (plan_.has_tokamax()) WriteTokamax(root.CreateGroup(kTokamax));
    }
    content.Close();
  }

 private:
  void WriteMask(const hdf5::Group& group) {
    group.SetAttribute("q_len", plan_.mask.shape().q_len);
    group.SetAttribute("kv_len", plan_.mask.shape().kv_len);
    group.SetAttribute("num_heads", plan_.mask.num_heads());
    WriteText(group, "expression", CanonicalText(plan_.mask));
    const hdf5::Group data = group.CreateGroup("data");
    for (const auto& [digest, array] : CollectArrays(plan_.mask)) {
      WriteArray(data, digest.substr(kDigestPrefix.size()), array);
    }
  }

  void WriteOptions(const hdf5::Group& group) {
    const PlanOptions& options = plan_.options;
    group.SetAttribute("dialect", "jax");
    group.SetAttribute("head_shards", options.head_shards);
    group.SetAttribute("q_seq_shards", options.q_seq_shards);
    group.SetAttribute("downcast_smem_data", options.downcast_smem_data);
    group.SetAttribute("shrink_grid", options.shrink_grid);
    group.SetAttribute("simplify", options.simplify);
    group.SetAttribute("use_fused_bwd_kernel", options.use_fused_bwd_kernel);
  }

  void WritePass(const CompiledPass& pass, const hdf5::Group& group) {
    group.SetAttribute("block_q", pass.block.q);
    group.SetAttribute("block_kv", pass.block.kv);
    WriteFields(pass, group);
  }

  void WriteTokamax(const hdf5::Group& tokamax) {
    for (Pass which : kTokamaxPasses) {
      const std::optional<TokamaxPass>& pass = plan_.tokamax_pass(which);
      if (!pass) continue;
      const hdf5::Group group = tokamax.CreateGroup(std::string(PassName(which)));
      group.SetAttribute("block_q", pass->options.block.q);
      group.SetAttribute("block_kv", pass->options.block.kv);
      group.SetAttribute("q_seq_shards", pass->options.q_seq_shards);
      group.SetAttribute("kv_seq_shards", pass->options.kv_seq_shards);
      group.SetAttribute("downcast_smem_data", pass->options.downcast_smem_data);
      group.SetAttribute("return_dynamic_grid", pass->options.return_dynamic_grid);
      group.SetAttribute("simplify", pass->options.simplify);
      WriteFields(*pass, group);
    }
  }

  template <typename AnyPass>
  void WriteFields(const AnyPass& pass, const hdf5::Group& group) {
    ForEachField(pass, [&](const StoredField& field) {
      if (field.is_text()) {
        WriteText(group, field.name, field.text);
      } else {
        const Extent extent =
            group.CreateDataset(field.name, field.stored_dtype, field.stored_shape).second;
        WriteBytes(extent.offset, field.bytes());
      }
    });
  }

  void WriteArray(const hdf5::Group& group, const std::string& name, const Array& array) {
    const bool is_bool = array.dtype() == DType::kBool;
    const auto [dataset, extent] =
        is_bool ? group.CreateDataset(name, DType::kUInt8, PackedShape(array.shape()))
                : group.CreateDataset(name, array.dtype(), array.shape());
    if (is_bool) {
      dataset.SetAttribute("dtype", "bool");
      dataset.SetAttribute("shape", array.shape());
    }
    int64_t offset = extent.offset;
    array.ForEachCanonicalPiece([&](std::span<const std::byte> piece) {
      WriteBytes(offset, piece);
      offset += static_cast<int64_t>(piece.size());
    });
  }

  void WriteText(const hdf5::Group& group, const std::string& name, const std::string& text) {
    const Extent extent = group.CreateText(name, static_cast<int64_t>(text.size()));
    WriteBytes(extent.offset, std::as_bytes(std::span(text)));
  }

  // Puts the bytes of a dataset where HDF5 made room for them.
  void WriteBytes(int64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      progress_.ThrowIfStopped();
      const auto piece = bytes.first(std::min(bytes.size(), kWrittenAtOnce));
      file_.WriteAt(offset, piece);
      offset += static_cast<int64_t>(piece.size());
      bytes = bytes.subspan(piece.size());
    }
  }

  const Plan& plan_;
  const PosixFile& file_;
  const Progress& progress_;
};

void RefuseDynamic(const Plan& plan) {
  for (Pass which : kAllPasses) {
    const std::optional<CompiledPass>& pass = plan.pass(which);
    if (!pass) continue;
    const std::optional<PartialMaskBlocks>& partial = pass->info.partial_mask_blocks;
    if (pass->info.is_dynamic_mask || (partial && partial->leading().size() != 1)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("[write_plan] expected tables of a static mask, got a dynamic one in "
                              "{}; a plan file does not hold those",
                              PassName(which)));
    }
  }
}

// tokamax's kernel takes one mask, so lists beside several would be those of nobody knows which.
void RefuseSeveralMasks(const Plan& plan) {
  if (!plan.has_tokamax() || plan.has_one_mask()) return;
  throw Error(ErrorCode::kInvalidArgument,
              "[write_plan] expected one mask for all heads beside tokamax lists, got several");
}

}  // namespace

PlanDigests WritePlan(const Plan& plan, const std::string& path, const Progress& progress) {
  RefuseDynamic(plan);
  RefuseSeveralMasks(plan);
  progress.ThrowIfStopped();
  const PlanDigests digests = ComputeDigests(plan);
  ReplacementFile replacement(path, "write_plan");
  const PosixFile& file = replacement.file();
  progress.Report(0.25);
  Writer(plan, file, progress).Write(digests);
  file.Sync();
  progress.Report(0.75);
  // The seal comes last: a file that has one was whole when it got it.
  WriteSeal(file, {.report = {}, .stop = progress.stop});
  progress.ThrowIfStopped();
  replacement.Commit();
  progress.Report(1.0);
  return digests;
}

}  // namespace splashmask
