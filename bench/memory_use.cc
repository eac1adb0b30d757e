// SPDX-License-Identifier: Apache-2.0
#include "bench/memory_use.h"

#include <malloc.h>

#include <fstream>
#include <numeric>
#include <set>
#include <string>

namespace splashmask {

namespace {

int64_t ReadStatus(const std::string& wanted) {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    int64_t kib = 0;
    if (key == wanted && status >> kib) return kib * 1024;
    std::getline(status, key);
  }
  return 0;
}

}  // namespace

void ResetPeakMemory() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

int64_t PeakMemory() { return ReadStatus("VmHWM:"); }
int64_t ResidentMemory() { return ReadStatus("VmRSS:"); }

std::vector<int64_t> OutputSizes(const Plan& plan) {
  std::vector<int64_t> sizes;
  std::set<const void*> counted;
  const auto count = [&](const auto& field) {
    if (field && counted.insert(field->data()).second) sizes.push_back(field->size_bytes());
  };
  for (Pass pass : kAllPasses) {
    if (!plan.pass(pass)) continue;
    const MaskInfo& info = plan.pass(pass)->info;
    count(info.data_next);
    count(info.mask_next);
    count(info.block_mask);
    count(info.partial_mask_blocks);
    count(info.q_sequence);
  }
  return sizes;
}

int64_t OutputBytes(const Plan& plan) {
  const std::vector<int64_t> sizes = OutputSizes(plan);
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

}  // namespace splashmask
