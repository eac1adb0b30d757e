// SPDX-License-Identifier: Apache-2.0
#pragma once
// A plan as Python holds it.

#include "splashmask/planner/plan.h"

namespace splashmask::python {

/// Immutable, like the memory behind the arrays that it hands out.
struct PlanObject {
  Plan plan;
};

}  // namespace splashmask::python
