// SPDX-License-Identifier: Apache-2.0
#pragma once
// Arrays of floating-point numbers from files and to files: q, k, v, and what attention makes of
// them.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace splashmask {

/// C-contiguous, little endian.
struct FloatArray {
  bool is_bfloat16 = false;  ///< Else float32.
  std::vector<int64_t> shape;
  std::shared_ptr<const void> data;

  int64_t size() const;  ///< Number of elements.
};

/// Reads "name.npy" (float32, or bfloat16 as ml_dtypes saves it; memory-mapped, so that the file
/// must stay as it is) or "file.h5:/path" (float32). Throws kNotFound, kIo, kInvalidArgument for
/// another kind of name, and kInvalidArray for other dtypes, Fortran order, and damaged files.
FloatArray ReadFloats(const std::string& name);

/// A float32 array that WriteFloats writes.
struct NamedFloats {
  std::string name;  ///< Of the dataset.
  std::vector<int64_t> shape;
  std::span<const float> values;
};

/// Throws kInvalidArgument unless WriteFloats takes a file of that name: ".npy", ".h5" or ".hdf5".
void CheckFloatsName(const std::string& path);

/// Whether a file of that name holds any number of arrays, each under its name.
bool HoldsManyFloats(const std::string& path);

/// Writes the datasets of an HDF5 file, or the one array of a .npy file, replacing the file whole
/// or not at all. Throws as CheckFloatsName does, kInvalidArgument for several arrays to .npy, kIo.
void WriteFloats(const std::string& path, std::span<const NamedFloats> arrays);

}  // namespace splashmask
