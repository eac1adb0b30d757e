// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/floats.h"

#include <fmt/format.h>

#include "splashmask/io/arrays.h"
#include "splashmask/io/hdf5.h"
#include "splashmask/io/npy.h"
#include "splashmask/io/replace_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

FloatArray ReadHdf5Floats(const std::string& path, const std::string& dataset) {
  const auto file = hdf5::File::OpenByName(path, "read_hdf5", ErrorCode::kInvalidArray);
  const hdf5::Dataset data = file.OpenDataset(dataset);
  const hdf5::DatasetInfo info = data.Describe();
  if (!info.is_float32) {
    data.Fail(fmt::format("expected float32 data, got {}", info.type_name));
  }
  const int64_t bytes = data.BytesOf(info.shape, sizeof(float));
  const std::shared_ptr<std::byte> memory = AllocateBytes(bytes);
  if (bytes > 0) data.ReadFloats(reinterpret_cast<float*>(memory.get()));
  return {false, info.shape, memory};
}

void WriteHdf5Floats(const std::string& path, std::span<const NamedFloats> arrays) {
  ReplacementFile replacement(path, "write_hdf5");
  auto file = hdf5::File::Create(replacement.file(), 0);
  for (const NamedFloats& array : arrays) {
    const hdf5::Extent extent = file.root().CreateFloats(array.name, array.shape);
    replacement.file().WriteAt(extent.offset, std::as_bytes(array.values));
  }
  file.Close();
  replacement.file().Sync();
  replacement.Commit();
}

[[noreturn]] void RefuseName(const char* op, const std::string& expected, const std::string& name) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[{}] expected {}, got '{}'", op, expected, name));
}

}  // namespace

int64_t FloatArray::size() const {
  int64_t size = 1;
  for (int64_t extent : shape) size *= extent;
  return size;
}

FloatArray ReadFloats(const std::string& name) {
  if (const auto inside = SplitHdf5Name(name)) {
    return ReadHdf5Floats(inside->file, inside->dataset);
  }
  if (name.ends_with(".npy")) return ReadNpyFloats(name);
  RefuseName("read_floats", "name.npy or file.h5:/path", name);
}

bool HoldsManyFloats(const std::string& path) {
  return path.ends_with(".h5") || path.ends_with(".hdf5");
}

void CheckFloatsName(const std::string& path) {
  if (!HoldsManyFloats(path) && !path.ends_with(".npy")) {
    RefuseName("write_floats", "name.npy or name.h5", path);
  }
}

void WriteFloats(const std::string& path, std::span<const NamedFloats> arrays) {
  CheckFloatsName(path);
  if (HoldsManyFloats(path)) {
    WriteHdf5Floats(path, arrays);
  } else if (arrays.size() == 1) {
    WriteNpyFloats(path, arrays[0]);
  } else {
    RefuseName("write_floats", fmt::format("name.h5 for {} arrays", arrays.size()), path);
  }
}

}  // namespace splashmask
