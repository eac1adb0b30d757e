// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/tpu_spec.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

constexpr int64_t kMiB = int64_t{1} << 20, kGiB = int64_t{1} << 30;

constexpr TpuSpec kSpecs[] = {
    {.name = "v4",
     .device_kind = "TPU v4",
     .topology = "v4:2x2x1",
     .generation = 4,
     .cores_per_chip = 2,
     .cores_per_device = 2,
     .mxu_size = 128,
     .mxus = 4,
     .vmem_bytes = 16 * kMiB,
     .smem_bytes = kMiB,
     .scoped_vmem_bytes = 16 * kMiB,
     .hbm_bytes = 34'400'000'000,
     .hbm_limit_bytes = 3075 * kGiB / 100,
     .hbm_granule_bytes = 512,
     .hbm_bytes_per_second = 1.23e12,
     .bf16_flops_per_second = 2.75e14},
    {.name = "v5e",
     .device_kind = "TPU v5 lite",
     .topology = "v5e:2x2",
     .generation = 5,
     .cores_per_chip = 1,
     .cores_per_device = 1,
     .mxu_size = 128,
     .mxus = 4,
     .vmem_bytes = 128 * kMiB,
     .smem_bytes = kMiB,
     .scoped_vmem_bytes = 16 * kMiB,
     .hbm_bytes = 17'200'000'000,
     .hbm_limit_bytes = 1575 * kGiB / 100,
     .hbm_granule_bytes = 512,
     .hbm_bytes_per_second = 8.20e11,
     .bf16_flops_per_second = 1.97e14},
    {.name = "v5p",
     .device_kind = "TPU v5",
     .topology = "v5p:2x2x1",
     .generation = 5,
     .cores_per_chip = 2,
     .cores_per_device = 2,
     .mxu_size = 128,
     .mxus = 4,
     .vmem_bytes = 64 * kMiB,
     .smem_bytes = kMiB,
     .scoped_vmem_bytes = 16 * kMiB,
     .hbm_bytes = 103'000'000'000,
     .hbm_limit_bytes = 9573 * kGiB / 100,
     .hbm_granule_bytes = 32,
     .hbm_bytes_per_second = 2.46e12,
     .bf16_flops_per_second = 4.59e14},
    {.name = "v6e",
     .device_kind = "TPU v6 lite",
     .topology = "v6e:2x2",
     .generation = 6,
     .cores_per_chip = 1,
     .cores_per_device = 1,
     .mxu_size = 256,
     .mxus = 2,
     .vmem_bytes = 128 * kMiB,
     .smem_bytes = kMiB,
     .scoped_vmem_bytes = 32 * kMiB,
     .hbm_bytes = 34'400'000'000,
     .hbm_limit_bytes = 3124 * kGiB / 100,
     .hbm_granule_bytes = 32,
     .hbm_bytes_per_second = 1.64e12,
     .bf16_flops_per_second = 9.20e14},
    {.name = "tpu7x",
     .device_kind = "TPU7x",
     .topology = "tpu7x:2x2x1",
     .generation = 7,
     .cores_per_chip = 2,
     .cores_per_device = 1,
     .mxu_size = 256,
     .mxus = 2,
     .vmem_bytes = 64 * kMiB,
     .smem_bytes = kMiB,
     .scoped_vmem_bytes = 32 * kMiB,
     .hbm_bytes = 206'000'000'000,
     .hbm_limit_bytes = 9474 * kGiB / 100,
     .hbm_granule_bytes = 32,
     .hbm_bytes_per_second = 7.40e12,
     .bf16_flops_per_second = 2.31e15},
};

bool SameLetters(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

std::span<const TpuSpec> AllTpuSpecs() { return kSpecs; }

std::string TpuSpecNames() {
  std::vector<std::string_view> names;
  for (const TpuSpec& spec : kSpecs) names.push_back(spec.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

const TpuSpec& FindTpuSpec(std::string_view name) {
  for (const TpuSpec& spec : kSpecs) {
    if (SameLetters(name, spec.name) || SameLetters(name, spec.device_kind)) return spec;
  }
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[plan] unknown chip '{}': known are {}", name, TpuSpecNames()));
}

}  // namespace splashmask
