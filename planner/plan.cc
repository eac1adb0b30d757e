// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/plan.h"

#include <utility>

namespace splashmask {

std::string_view PassName(Pass pass) {
  switch (pass) {
    case Pass::kFwd:
      return "fwd";
    case Pass::kDq:
      return "dq";
    case Pass::kDkv:
      return "dkv";
  }
  return "";
}

const std::optional<CompiledPass>& Plan::pass(Pass pass) const {
  switch (pass) {
    case Pass::kFwd:
      return fwd;
    case Pass::kDq:
      return dq;
    default:
      return dkv;
  }
}

std::optional<CompiledPass>& Plan::pass(Pass pass) {
  return const_cast<std::optional<CompiledPass>&>(std::as_const(*this).pass(pass));
}

}  // namespace splashmask
