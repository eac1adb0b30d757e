// SPDX-License-Identifier: Apache-2.0
#pragma once
// .npy files of floating-point numbers. Private to io/.

#include "splashmask/io/floats.h"

namespace splashmask {

/// As ReadFloats does.
FloatArray ReadNpyFloats(const std::string& path);

/// Writes format 1.0, as numpy.save does.
void WriteNpyFloats(const std::string& path, const NamedFloats& array);

}  // namespace splashmask
