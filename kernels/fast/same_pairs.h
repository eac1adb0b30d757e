// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether two passes of a plan say the same. Private to kernels/.

#include "splashmask/planner/plan.h"

namespace splashmask::fast {

/// Whether the tables of dq and dkv let the same pairs through, block by block: then what is
/// computed for dk and dv serves for dq. False when the passes' blocks are not of one shape.
bool DqAndDkvSeeTheSame(const Plan& plan);

}  // namespace splashmask::fast
