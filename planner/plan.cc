// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/plan.h"

#include <algorithm>
#include <utility>
#include <vector>

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

std::string TokamaxPassPath(Pass pass) { return "tokamax/" + std::string(PassName(pass)); }

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

const std::optional<TokamaxPass>& Plan::tokamax_pass(Pass pass) const {
  return pass == Pass::kDkv ? tokamax_dkv : tokamax_fwd;
}

std::optional<TokamaxPass>& Plan::tokamax_pass(Pass pass) {
  return pass == Pass::kDkv ? tokamax_dkv : tokamax_fwd;
}

bool Plan::has_one_mask() const {
  const std::vector<Mask>& masks = mask.masks();
  return std::ranges::all_of(masks, [&](const Mask& head) { return head == masks.front(); });
}

std::vector<std::string> PassPaths(const Plan& plan) {
  std::vector<std::string> paths;
  for (const Pass pass : kAllPasses) {
    if (plan.pass(pass)) paths.emplace_back(PassName(pass));
  }
  for (const Pass pass : kTokamaxPasses) {
    if (plan.tokamax_pass(pass)) paths.push_back(TokamaxPassPath(pass));
  }
  return paths;
}

}  // namespace splashmask
