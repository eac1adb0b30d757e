// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/simd_target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "splashmask/kernels/fast/bf16_product.h"
#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/simd_choice.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

constexpr const char* kVariable = "SPLASHMASK_SIMD_TARGET";
constexpr const char* kPairs = "AVX3_BF16";

std::vector<int64_t> HighwayTargets() {
  std::vector<int64_t> targets = hwy::SupportedAndGeneratedTargets();
  std::ranges::sort(targets);  // Better ones are smaller numbers.
  return targets;
}

struct Choice {
  std::vector<std::string> names;  // Of all targets, before any is disabled.
  bool has_pairs = fast::HasBf16Products();
  std::string unknown;  // What the environment names, if there is no such target.
};

Choice Choose() {
  Choice choice;
  if (choice.has_pairs) choice.names.emplace_back(kPairs);
  for (const int64_t target : HighwayTargets()) choice.names.emplace_back(hwy::TargetName(target));
  const char* const name = std::getenv(kVariable);
  if (name == nullptr || *name == '\0') return choice;
  if (std::ranges::find(choice.names, name) == choice.names.end()) {
    choice.unknown = name;
    return choice;
  }
  if (std::string(name) == kPairs) return choice;
  choice.has_pairs = false;
  int64_t better = 0;
  for (const int64_t target : HighwayTargets()) {
    if (std::string(hwy::TargetName(target)) == name) break;
    better |= target;
  }
  hwy::DisableTargets(better);
  return choice;
}

const Choice& MadeOnce() {
  static const Choice choice = Choose();
  return choice;
}

const Choice& Chosen() {
  const Choice& choice = MadeOnce();
  if (choice.unknown.empty()) return choice;
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[attention] expected {} to be one of {}, got {}", kVariable,
                          fmt::join(choice.names, ", "), choice.unknown));
}

}  // namespace

std::vector<std::string> SimdTargets() { return MadeOnce().names; }

std::string SimdTarget() { return Chosen().has_pairs ? kPairs : fast::TargetName(); }

void ChooseSimdTarget() { Chosen(); }

bool MultipliesPairs() { return Chosen().has_pairs; }

}  // namespace splashmask
