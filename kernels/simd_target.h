// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which SIMD instructions attention is computed with.

#include <string>
#include <vector>

namespace splashmask {

/// Targets of this machine, the best first: as Highway names them, and before them AVX3_BF16, which
/// is AVX3 and products of bfloat16 pairs.
std::vector<std::string> SimdTargets();

/// The one in use: the best, or what SPLASHMASK_SIMD_TARGET in the environment names. It is read
/// once, when attention is first set up. Throws kInvalidArgument, and so does attention, when that
/// names none of SimdTargets().
std::string SimdTarget();

}  // namespace splashmask
