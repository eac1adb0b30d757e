// SPDX-License-Identifier: Apache-2.0
#pragma once
// HDF5 content -> Plan, trusting nothing. Private to io/.

#include <string>

#include "splashmask/io/hdf5.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

struct PlanContents {
  Plan plan;
  PlanDigests digests;
  int64_t format_version = 0;
  std::string created_with;
};

/// Reads everything behind the user block of `file`. Whatever it returns is safe to use: every
/// dtype and shape fits the mask, the blocks and the shards, and pad bits are 0. The values in the
/// tables, and whether an array is the one its name says, are for digests and the certifier to
/// judge. Throws kDamaged, kNewerFormat, kTooLarge, kIo, kCancelled.
PlanContents ReadContents(const PosixFile& file, const Progress& progress);

}  // namespace splashmask
