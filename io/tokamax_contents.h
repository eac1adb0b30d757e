// SPDX-License-Identifier: Apache-2.0
#pragma once
// The group /tokamax -> the passes of a plan in tokamax's dialect. Private to io/.

#include "splashmask/io/content_reader.h"
#include "splashmask/io/hdf5.h"
#include "splashmask/planner/plan.h"

namespace splashmask {

/// Reads the passes into `plan`, whose mask is there. Every dtype and shape fits the mask, the
/// blocks and the shards; throws kDamaged otherwise.
void ReadTokamax(const hdf5::Group& group, const ContentReader& content, Plan* plan);

}  // namespace splashmask
