// SPDX-License-Identifier: Apache-2.0
#pragma once
// An HDF5 file driver that works on a descriptor we opened. Private to io/.
//
// Three reasons. A plan is read through the very descriptor whose seal was checked, whatever
// happens to its name meanwhile. And HDF5 1.10 crashes at exit when closing a file fails to write,
// as on a full disk: this driver keeps the first error for us and lets HDF5 finish. And it stops
// HDF5 from parsing a damaged global heap, where 1.10 hangs.

#include <cstdint>
#include <optional>

#include "splashmask/io/posix_file.h"
#include "splashmask/masks/error.h"

namespace splashmask::hdf5 {

/// What the driver works on; it must outlive every HDF5 object of the file.
struct DriverFile {
  const PosixFile* file = nullptr;
  std::optional<Error> failure;  ///< The first error that reading or writing met.
};

/// Makes files opened or created with the access list `fapl` live in `file`; false when HDF5
/// refuses. Call it with HDF5's lock (hdf5_internal.h) held.
bool UseDriver(int64_t fapl, DriverFile* file);

}  // namespace splashmask::hdf5
