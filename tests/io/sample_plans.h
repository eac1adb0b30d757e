// SPDX-License-Identifier: Apache-2.0
#pragma once
// Plans made by hand, which between them use everything a plan file can hold.

#include <string>
#include <vector>

#include "splashmask/planner/plan.h"

namespace splashmask {

struct SamplePlan {
  std::string name;
  Plan plan;
};

/// The values in the tables have a pattern and no meaning: files must keep them, not judge them.
std::vector<SamplePlan> SamplePlans();
/// One of them. Throws std::out_of_range for a name that is not there.
Plan SamplePlanNamed(const std::string& name);

/// bool[rows, columns] where `at(row, column)` says so.
template <typename At>
Array MakeBools(int64_t rows, int64_t columns, At&& at) {
  auto bytes = std::make_shared<std::vector<std::byte>>();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      bytes->push_back(std::byte{at(row, column)});
    }
  }
  return Array(DType::kBool, {rows, columns}, std::shared_ptr<const void>(bytes, bytes->data()));
}

}  // namespace splashmask
