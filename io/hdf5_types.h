// SPDX-License-Identifier: Apache-2.0
#pragma once
// The HDF5 types that plan files use. Private to io/; call with HDF5's lock (hdf5.h) held.

#include "splashmask/io/hdf5.h"
#include "splashmask/masks/array.h"

namespace splashmask::hdf5 {

/// An int8 enum of FALSE and TRUE, which h5py reads and writes as bool.
Handle BoolType();
/// The little-endian type of the same name.
Handle TypeOf(DType dtype);

}  // namespace splashmask::hdf5
