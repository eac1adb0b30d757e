// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads shapes as XLA prints them.

#include <string_view>

#include "splashmask/planner/cost/tiled_shape.h"

namespace splashmask {

/// Throws kSyntax, "[xla] expected ..., got ...", for anything that is not one shape.
XlaShape ParseXlaShape(std::string_view text);

}  // namespace splashmask
