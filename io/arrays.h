// SPDX-License-Identifier: Apache-2.0
#pragma once
// Arrays of bools and integers from files and to files.

#include <optional>
#include <string>

#include "splashmask/masks/array.h"
#include "splashmask/masks/parse.h"

namespace splashmask {

/// Reads a `.npy` file (format 1.0 to 3.0): memory-mapped in C order, so that the file must stay as
/// it is while the array lives; a transposed copy for Fortran order of rank 2. Throws kNotFound,
/// kIo, and kInvalidArray for anything but bool and integers, big-endian data, a malformed header,
/// and a file that is cut short or has bytes left over.
Array ReadNpy(const std::string& path);

/// Writes an array as numpy.save does, replacing the file whole or not at all. Throws kIo.
void WriteNpy(const std::string& path, const Array& array);

/// Reads `dataset`, a path from the root, of an HDF5 file: bool (h5py's enum) or integer, any rank,
/// byte order and storage. Throws kNotFound, kIo, and kInvalidArray for anything else.
Array ReadHdf5Dataset(const std::string& path, const std::string& dataset);

/// "file.h5:/path" in two: `dataset` begins with the slash.
struct Hdf5Name {
  std::string file, dataset;
};

/// nullopt for a name that says no path inside a file.
std::optional<Hdf5Name> SplitHdf5Name(const std::string& name);

/// Resolves "x.npy" and "file.h5:/path", relative names from `base_directory` (empty: the current
/// one). "sha256:..." names throw kNotFound: only a plan file holds those.
ArrayResolver FileResolver(std::string base_directory = "");

}  // namespace splashmask
