// SPDX-License-Identifier: Apache-2.0
#pragma once
// The buffers of a program that calls a backward kernel. Private to cost.

#include "splashmask/planner/cost/buffer_list.h"

namespace splashmask {

/// dq, dkv or fused.
ProgramBuffers BackwardBuffers(const ProgramCall& call);

}  // namespace splashmask
