// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the environment's choice of a SIMD target means for kernels. Private to kernels/.

namespace splashmask {

/// To be called before the first dispatch. Throws as SimdTarget does.
void ChooseSimdTarget();

/// Whether pairs of bfloat16 numbers are multiplied.
bool MultipliesPairs();

}  // namespace splashmask
