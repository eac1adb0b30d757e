// SPDX-License-Identifier: Apache-2.0
#pragma once
// The buffers of a program that calls the forward kernel. Private to cost.

#include "splashmask/planner/cost/buffer_list.h"

namespace splashmask {

/// With or without residuals.
ProgramBuffers ForwardBuffers(const ProgramCall& call);

}  // namespace splashmask
