// SPDX-License-Identifier: Apache-2.0
#pragma once
// The seal of a plan file: a 512-byte user block that covers every byte behind it and itself.
// docs/plan-format.md, "Seal", gives the layout and the hash recipe. Private to io/.

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "splashmask/io/plan_file.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

inline constexpr int64_t kUserBlockBytes = 512;
/// The version of the seal this library writes, and the newest it reads.
inline constexpr int64_t kSealVersion = 1;
inline constexpr int64_t kLeafBytes = int64_t{1} << 20;

/// An XXH3-128 value in its canonical (big-endian) form.
using Hash128 = std::array<std::byte, 16>;

/// XXH3-128 over the concatenated XXH3-128 values of the 1 MiB leaves of file bytes [begin, end).
/// Leaves are read and hashed under TBB. Throws kIo, kCancelled.
Hash128 TreeHash(const PosixFile& file, int64_t begin, int64_t end, const Progress& progress = {});

/// Hashes the file behind the user block and writes the block.
void WriteSeal(const PosixFile& file, const Progress& progress = {});

struct SealCheck {
  SealState state = SealState::kValid;
  std::string problem;  ///< What is broken, for kBroken.
};

/// Looks at the user block and, with `check_hash`, at every other byte (otherwise the state is
/// kNotChecked). Throws kNotAPlan when there is no seal at all, kNewerFormat when an intact block
/// was written by a newer version, kIo, kCancelled.
SealCheck CheckSeal(const PosixFile& file, bool check_hash, const Progress& progress = {});

}  // namespace splashmask
