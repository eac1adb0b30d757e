// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether two passes of a plan say the same. Private to kernels/.

#include "splashmask/planner/plan.h"

namespace splashmask::fast {

/// Whether the tables of dq and dkv let the same pairs through, whatever their blocks: then what is
/// computed for dk and dv serves for dq. False without a look when the passes' blocks are not of
/// one shape, nor of multiples of 8.
bool DqAndDkvSeeTheSame(const Plan& plan);

}  // namespace splashmask::fast
