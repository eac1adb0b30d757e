// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the hdf5*.cc files share: HDF5's lock, and the types that plan files use.

#include <hdf5.h>

#include <cstdint>
#include <type_traits>

#include "splashmask/io/hdf5.h"
#include "splashmask/masks/array.h"

namespace splashmask::hdf5 {

static_assert(std::is_same_v<hid_t, int64_t>);

/// Holds the mutex and keeps HDF5 from printing while it lives.
class Lock {
 public:
  Lock();
  ~Lock();
  Lock(const Lock&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

/// An int8 enum of FALSE and TRUE, which h5py reads and writes as bool.
Handle BoolType();
/// The little-endian type of the same name.
Handle TypeOf(DType dtype);

}  // namespace splashmask::hdf5
