// SPDX-License-Identifier: Apache-2.0
#pragma once
// How many random cases a test draws.

#include <cstdint>

namespace splashmask {

/// `full`, but an eighth of it under a sanitizer, which looks for other mistakes than wrong results
/// and takes ten times as long.
constexpr uint64_t SampleSize(uint64_t full) {
#if defined(SPLASHMASK_SANITIZED)
  return full / 8;
#else
  return full;
#endif
}

}  // namespace splashmask
