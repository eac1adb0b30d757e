// SPDX-License-Identifier: Apache-2.0
#pragma once
// When JAX takes two heads for one. Private to the project.

#include "splashmask/masks/mask.h"

namespace splashmask {

/// Two heads have the same tables, counted once, exactly when their identities are equal. It is the
/// mask itself but for reorderings: JAX hashes the bytes of the positions and compares their
/// values, so that neither the sign of the dtype nor how the positions are written (zigzag,
/// striped, a file) tells two heads apart.
Mask HeadIdentity(const Mask& mask);

}  // namespace splashmask
