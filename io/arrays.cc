// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/arrays.h"

#include <fmt/format.h>

#include <utility>

#include "splashmask/io/hdf5.h"
#include "splashmask/masks/error.h"
#include "splashmask/planner/memory.h"

namespace splashmask {

namespace {

std::string InDirectory(const std::string& directory, const std::string& name) {
  if (directory.empty() || name.starts_with('/')) return name;
  return directory.ends_with('/') ? directory + name : directory + '/' + name;
}

}  // namespace

Array ReadHdf5Dataset(const std::string& path, const std::string& dataset) {
  if (!dataset.starts_with('/')) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("[read_hdf5] {}: expected a dataset's path from the root, got '{}'; "
                            "did you mean '/{}'?",
                            path, dataset, dataset));
  }
  const auto file = hdf5::File::OpenByName(path, "read_hdf5", ErrorCode::kInvalidArray);
  const hdf5::Dataset data = file.OpenDataset(dataset);
  const hdf5::DatasetInfo info = data.Describe();
  if (!info.dtype) {
    data.Fail(fmt::format("expected bool or integer data, got {}", info.type_name));
  }
  const int64_t bytes = data.BytesOf(info.shape, DTypeSize(*info.dtype));
  const std::shared_ptr<std::byte> memory = AllocateBytes(bytes);
  if (bytes > 0) data.Read(*info.dtype, memory.get());
  return Array(*info.dtype, info.shape, memory);
}

std::optional<Hdf5Name> SplitHdf5Name(const std::string& name) {
  const size_t colon = name.find(":/");
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  return Hdf5Name{name.substr(0, colon), name.substr(colon + 1)};
}

ArrayResolver FileResolver(std::string base_directory) {
  return [base = std::move(base_directory)](const std::string& name) {
    if (name.starts_with("sha256:")) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("[resolve] expected a file, got '{}': only the plan file that stores "
                              "this array has it under that name",
                              name));
    }
    if (const auto inside = SplitHdf5Name(name)) {
      return ReadHdf5Dataset(InDirectory(base, inside->file), inside->dataset).WithName(name);
    }
    if (name.ends_with(".npy")) return ReadNpy(InDirectory(base, name)).WithName(name);
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("[resolve] expected \"name.npy\" or \"file.h5:/path\", got '{}'", name));
  };
}

}  // namespace splashmask
