// SPDX-License-Identifier: Apache-2.0
// libFuzzer: plan files that are sealed and are good HDF5, but hold anything. The reader gives a
// plan that can be read whole, or an Error.
//
// HDF5's own parser is not under test, and hostile bytes for it are what the seal keeps out. So the
// file is written with the HDF5 library, each part of it as it should be unless the input says
// otherwise.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "splashmask/io/hdf5.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/io/seal.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/plan_statistics.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

using hdf5::Group;
using hdf5::Object;

class PlanFuzzer {
 public:
  PlanFuzzer(FuzzedDataProvider& input, const PosixFile& file) : input_(input), file_(file) {}

  void Write() {
    hdf5::File content = hdf5::File::Create(file_, kUserBlockBytes);
    WriteRoot(content.root());
    content.Close();
  }

 private:
  // One part in eight is not as it should be.
  bool Strange() { return input_.ConsumeIntegralInRange(0, 7) == 7; }

  int64_t Number(int64_t good) {
    if (!Strange()) return good;
    return input_.ConsumeBool() ? input_.ConsumeIntegral<int64_t>()
                                : input_.ConsumeIntegralInRange<int64_t>(-1, 100);
  }

  void Attribute(const Object& object, const std::string& name, int64_t good) {
    if (Strange()) return Misfit(object, name);
    object.SetAttribute(name, Number(good));
  }
  void Attribute(const Object& object, const std::string& name, bool good) {
    if (Strange()) return Misfit(object, name);
    object.SetAttribute(name, good != Strange());
  }
  void Attribute(const Object& object, const std::string& name, const std::string& good) {
    if (Strange()) return Misfit(object, name);
    object.SetAttribute(name, Strange() ? Word() : good);
  }

  // HDF5 takes no zero inside a string.
  std::string Word() {
    const std::string word = input_.ConsumeRandomLengthString(70);
    return word.substr(0, word.find('\0'));
  }

  // An attribute of another type, or none.
  void Misfit(const Object& object, const std::string& name) {
    switch (input_.ConsumeIntegralInRange(0, 4)) {
      case 0:
        return object.SetAttribute(name, input_.ConsumeIntegral<int64_t>());
      case 1:
        return object.SetAttribute(name, input_.ConsumeBool());
      case 2:
        return object.SetAttribute(name, Word());
      case 3:
        return object.SetAttribute(name, Extents(3));
      default:
        return;
    }
  }

  std::vector<int64_t> Extents(size_t most) {
    std::vector<int64_t> extents(input_.ConsumeIntegralInRange<size_t>(1, most));
    for (int64_t& extent : extents) extent = input_.ConsumeIntegralInRange<int64_t>(0, 20);
    return extents;
  }

  void Data(const Group& group, const std::string& name, DType dtype, std::vector<int64_t> shape) {
    if (Strange()) {
      if (input_.ConsumeBool()) return;
      dtype = static_cast<DType>(input_.ConsumeIntegralInRange(0, 8));
    }
    if (Strange()) shape = Extents(4);
    const auto [dataset, extent] = group.CreateDataset(name, dtype, shape);
    Fill(extent);
    if (Strange()) Attribute(dataset, "dtype", std::string("bool"));
    if (Strange()) dataset.SetAttribute("shape", Extents(3));
  }

  void Fill(hdf5::Extent extent) {
    std::vector<uint8_t> bytes(static_cast<size_t>(extent.bytes));
    if (Strange()) {
      const std::vector<uint8_t> given = input_.ConsumeBytes<uint8_t>(bytes.size());
      std::copy(given.begin(), given.end(), bytes.begin());
    }
    file_.WriteAt(extent.offset, std::as_bytes(std::span(bytes)));
  }

  void Text(const Group& group, const std::string& name, std::string text) {
    if (Strange()) {
      if (input_.ConsumeBool()) return;
      text = input_.ConsumeRandomLengthString(200);
    }
    if (text.empty()) return;
    const hdf5::Extent extent = group.CreateText(name, static_cast<int64_t>(text.size()));
    file_.WriteAt(extent.offset, std::as_bytes(std::span(text)));
  }

  void WriteRoot(const Group& root) {
    Attribute(root, "format", std::string("splashmask"));
    Attribute(root, "format_version", int64_t{1});
    for (const char* digest : {"mask_digest", "plan_digest", "content_digest"}) {
      Attribute(root, digest, std::string(64, 'a'));
    }
    Attribute(root, "created_with", std::string("fuzzer"));
    if (!Strange()) WriteMask(root.CreateGroup("mask"));
    if (!Strange()) WriteOptions(root.CreateGroup("options"));
    for (const char* pass : {"fwd", "dq", "dkv"}) {
      if (!Strange()) WritePass(root.CreateGroup(pass), pass == std::string("dkv"));
    }
    if (input_.ConsumeBool()) WriteTokamax(root.CreateGroup("tokamax"));
    if (Strange()) Data(root, "more", DType::kInt8, {3});
  }

  void WriteMask(const Group& group) {
    Attribute(group, "q_len", int64_t{24});
    Attribute(group, "kv_len", int64_t{24});
    Attribute(group, "num_heads", int64_t{2});
    const Group data = group.CreateGroup("data");
    // Names need not be digests unless digests are checked.
    std::string text = "[causal() * 2]";
    if (input_.ConsumeBool()) {
      text = R"([documents("sha256:lengths") & segments("sha256:ids"), blocks("sha256:bits", 4)])";
      Data(data, "lengths", DType::kInt32, {5});
      Data(data, "ids", DType::kInt64, {24});
      const hdf5::Dataset bits = data.CreateDataset("bits", DType::kUInt8, {6, 1}).first;
      Attribute(bits, "dtype", std::string("bool"));
      bits.SetAttribute("shape", Strange() ? Extents(3) : std::vector<int64_t>{6, 6});
    }
    Text(group, "expression", text);
  }

  void WriteOptions(const Group& group) {
    Attribute(group, "dialect", std::string("jax"));
    Attribute(group, "head_shards", int64_t{1});
    Attribute(group, "q_seq_shards", int64_t{1});
    Attribute(group, "downcast_smem_data", true);
    Attribute(group, "shrink_grid", true);
    Attribute(group, "simplify", false);
    Attribute(group, "use_fused_bwd_kernel", false);
  }

  void WritePass(const Group& group, bool is_dkv) {
    Attribute(group, "block_q", int64_t{8});
    Attribute(group, "block_kv", int64_t{12});
    for (const char* name : {"data_next", "mask_next", "block_mask"}) {
      Data(group, name, DType::kInt8, {2, 3, 2});
    }
    Data(group, "partial_mask_blocks", DType::kUInt8,
         is_dkv ? std::vector<int64_t>{3, 12, 1} : std::vector<int64_t>{3, 8, 2});
    if (Strange()) Data(group, "q_sequence", DType::kInt32, {24});
    if (Strange()) Text(group, "mask_function", "causal()");
  }

  void WriteTokamax(const Group& tokamax) {
    for (const char* pass : {"fwd", "dkv"}) {
      if (!Strange()) WriteTokamaxPass(tokamax.CreateGroup(pass), pass == std::string("dkv"));
    }
    if (Strange()) Attribute(tokamax, "more", int64_t{1});
  }

  void WriteTokamaxPass(const Group& group, bool is_dkv) {
    Attribute(group, "block_q", int64_t{8});
    Attribute(group, "block_kv", int64_t{12});
    Attribute(group, "q_seq_shards", int64_t{3});
    Attribute(group, "kv_seq_shards", int64_t{1});
    Attribute(group, "downcast_smem_data", true);
    Attribute(group, "return_dynamic_grid", true);
    Attribute(group, "simplify", false);
    for (const char* name : {"mask_next", "active_rows", "active_cols", "block_mask"}) {
      Data(group, name, DType::kInt8, {6});
    }
    Data(group, "num_active_blocks", DType::kInt32, {3});
    Data(group, "partial_mask_blocks", DType::kUInt8,
         is_dkv ? std::vector<int64_t>{3, 12, 1} : std::vector<int64_t>{3, 8, 2});
    if (Strange()) Data(group, "q_sequence", DType::kInt32, {24});
    if (Strange()) Text(group, "mask_function", "causal()");
  }

  FuzzedDataProvider& input_;
  const PosixFile& file_;
};

// Reads whatever a plan gives access to.
void Use(const LoadedPlan& loaded) {
  const Plan& plan = loaded.plan;
  if (ToString(plan.mask).empty()) std::abort();
  ComputeDigests(plan);
  for (Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    try {
      CountBlocks(plan, pass);
    } catch (const Error&) {
      // The tables may say anything.
    }
  }
}

}  // namespace
}  // namespace splashmask

extern "C" const char* __lsan_default_suppressions() {
  return "leak:libhdf5\n";  // HDF5 loses memory when it refuses a file.
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace splashmask;
  static const TemporaryDirectory directory;
  static const std::string path = directory / "fuzz.h5";
  FuzzedDataProvider input(data, size);
  ReadOptions options;
  options.seal = input.ConsumeBool() ? ReadOptions::Seal::kReport : ReadOptions::Seal::kRequire;
  options.check_digests = input.ConsumeBool();
  std::filesystem::remove(path);
  {
    const std::optional<PosixFile> file = PosixFile::CreateNew(path, "fuzz", path);
    PlanFuzzer(input, *file).Write();
    WriteSeal(*file);
  }
  try {
    Use(ReadPlan(path, options));
  } catch (const Error& error) {
    const bool expected = error.code() == ErrorCode::kDamaged ||
                          error.code() == ErrorCode::kNewerFormat ||
                          error.code() == ErrorCode::kTooLarge;
    if (!expected) std::abort();
  }
  return 0;
}
