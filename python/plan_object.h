// SPDX-License-Identifier: Apache-2.0
#pragma once
// A plan as Python holds it.

#include <string>

#include "splashmask/planner/plan.h"

namespace splashmask::python {

/// Immutable, like the memory behind the arrays that it hands out.
struct PlanObject {
  Plan plan;
};

/// The pass of that name. Throws kInvalidArgument for a name that is none.
Pass ToPass(const std::string& name);

}  // namespace splashmask::python
