// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where an array of ids changes. Private to compile.

#include <cstdint>

namespace splashmask {

/// Writes 0, and every index whose id differs from the one before, to `starts`, in order; returns
/// how many. `starts` has room for `count` entries; count >= 1. SIMD, with run-time dispatch.
int64_t FindRunStarts(const int32_t* ids, int64_t count, int32_t* starts);

}  // namespace splashmask
