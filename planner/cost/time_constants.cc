// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/cost/time_constants.h"

#include <string_view>

namespace splashmask {

namespace {

enum class Kind : uint8_t { kFwd, kDq, kDkv, kFused };

Kind KindOf(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kDq:
      return Kind::kDq;
    case TpuKernel::kDkv:
      return Kind::kDkv;
    case TpuKernel::kFused:
      return Kind::kFused;
    default:
      return Kind::kFwd;
  }
}

struct Schedule {
  std::string_view chip;
  SplashLibrary library;
  Kind kind;
  ScheduleConstants constants;
};

// By tools/fit_time_model.py, from what libtpu 0.0.51 schedules for the kernels of JAX 0.10.2 and
// tokamax 0.0.12 (tests/planner/data/tpu_schedules.csv).
// clang-format off
constexpr Schedule kSchedules[] = {
    {"tpu7x", SplashLibrary::kJax, Kind::kDkv, {.vreg = 3.426, .vreg_tile = 0.3282,
     .vreg_masked = 0.02328, .vreg_segments = 0.1089, .vreg_soft_cap = 1.384,
     .vreg_f32 = 0.1195, .iteration = 144.3, .iteration_vreg = 0.2069, .body = 206.7,
     .visited = 501.8, .skipped = 346, .output_row = 0.2932, .output_row_tile = 0.3143}},
    {"tpu7x", SplashLibrary::kJax, Kind::kDq, {.vreg = 2.894, .vreg_tile = 0.6208,
     .vreg_masked = 0.3752, .vreg_stored = 0.08592, .vreg_segments = 0.2793,
     .vreg_soft_cap = 1.147, .vreg_f32 = 0.1373, .iteration = 0.0001268, .body = 194.2,
     .visited = 384.6, .skipped = 274.4, .output_row = 0.1343, .output_row_tile = 0.1606}},
    {"tpu7x", SplashLibrary::kJax, Kind::kFused, {.vreg = 3.869, .vreg_tile = -0.03368,
     .vreg_masked = 0.4, .vreg_segments = 0.03876, .vreg_soft_cap = 1.294, .vreg_f32 = 0.02672,
     .iteration = 300, .body = 117.8, .visited = 574.6, .skipped = 358, .output_row = 0.3249,
     .output_row_tile = 0.2826}},
    {"tpu7x", SplashLibrary::kJax, Kind::kFwd, {.vreg = 2.66, .vreg_tile = 0.6814,
     .vreg_masked = 0.347, .vreg_segments = 0.2158, .vreg_soft_cap = 0.4379, .vreg_f32 = 0.1574,
     .iteration = 76.82, .body = 83.23, .k_rows_short_tile = 0.3862, .vreg_wide = 0.1765,
     .visited = 352.2, .visited_residuals = 29.83, .skipped = 212.9, .output_row = 0.441,
     .output_row_residuals = 0.1411, .output_row_tile = 0.143}},
    {"v4", SplashLibrary::kJax, Kind::kDkv, {.vreg = 8.188, .vreg_tile = 6.716,
     .vreg_masked = 0.4, .vreg_segments = 0.02771, .vreg_soft_cap = 0.3599, .vreg_f32 = 0.5583,
     .iteration = 78.83, .body = 21.82, .visited = 485.5, .skipped = 340.8,
     .output_row = 0.7092, .output_row_tile = 0.7537}},
    {"v4", SplashLibrary::kJax, Kind::kDq, {.vreg = 6.095, .vreg_tile = 5.959,
     .vreg_masked = 0.2047, .vreg_stored = 0.181, .vreg_segments = 0.0003551,
     .vreg_soft_cap = 1.804, .vreg_f32 = 0.4458, .iteration = 0.3078,
     .iteration_vreg = 0.0009857, .body = 113.2, .visited = 362.2, .skipped = 260,
     .output_row = 0.3286, .output_row_tile = 0.3843}},
    {"v4", SplashLibrary::kJax, Kind::kFused, {.vreg = 10.25, .vreg_tile = 8.683,
     .vreg_masked = 0.4, .vreg_soft_cap = 0.2965, .vreg_f32 = 0.4692, .body = 87.93,
     .visited = 608.5, .skipped = 366.2, .output_row = 0.7461, .output_row_tile = 0.7168}},
    {"v4", SplashLibrary::kJax, Kind::kFwd, {.vreg = 5.556, .vreg_tile = 4.701,
     .vreg_masked = 0.4, .vreg_f32 = 0.00876, .iteration = 32.11, .body = 95.09,
     .k_rows_short_tile = 0.1322, .vreg_wide = 0.4309, .visited = 334.1,
     .visited_residuals = 28.91, .skipped = 204.1, .output_row = 1.635,
     .output_row_residuals = 0.2552, .output_row_tile = 0.3529}},
    {"v5e", SplashLibrary::kJax, Kind::kDkv, {.vreg = 6.295, .vreg_tile = 7.099,
     .vreg_segments = 0.0213, .vreg_soft_cap = 0.2767, .vreg_f32 = 0.4293, .iteration = 46.41,
     .body = 260.4, .visited = 358.2, .skipped = 245.7, .output_row = 0.632,
     .output_row_tile = 0.6258}},
    {"v5e", SplashLibrary::kJax, Kind::kDq, {.vreg = 5.033, .vreg_tile = 5.596,
     .vreg_masked = 0.1203, .vreg_stored = 0.1494, .vreg_segments = 0.0002932,
     .vreg_soft_cap = 1.49, .vreg_f32 = 0.3681, .iteration = 0.04066, .body = 182.6,
     .visited = 255.8, .skipped = 167.2, .output_row = 0.3174, .output_row_tile = 0.3154}},
    {"v5e", SplashLibrary::kJax, Kind::kFused, {.vreg = 7.992, .vreg_tile = 8.374,
     .vreg_masked = 0.3046, .vreg_soft_cap = 0.2312, .vreg_f32 = 0.3659, .iteration = 144.7,
     .body = 153.4, .visited = 453, .skipped = 265.5, .output_row = 0.6695,
     .output_row_tile = 0.5883}},
    {"v5e", SplashLibrary::kJax, Kind::kFwd, {.vreg = 3.956, .vreg_tile = 3.778,
     .vreg_masked = 0.1701, .vreg_f32 = 0.006238, .iteration = 138.2, .body = 62.03,
     .vreg_wide = 0.2831, .visited = 246.4, .visited_residuals = 1.636, .skipped = 156.8,
     .output_row = 1.195, .output_row_residuals = 0.1565, .output_row_tile = 0.301}},
    {"v5p", SplashLibrary::kJax, Kind::kDkv, {.vreg = 6.923, .vreg_tile = 6.926,
     .vreg_masked = 0.0312, .vreg_segments = 0.02343, .vreg_soft_cap = 0.3043,
     .vreg_f32 = 0.472, .iteration = 21.62, .body = 96.19, .visited = 517.8, .skipped = 359.2,
     .output_row = 0.6552, .output_row_tile = 0.6026}},
    {"v5p", SplashLibrary::kJax, Kind::kDq, {.vreg = 5.181, .vreg_tile = 5.739,
     .vreg_masked = 0.109, .vreg_stored = 0.1538, .vreg_segments = 0.0003019,
     .vreg_soft_cap = 1.534, .vreg_f32 = 0.3789, .iteration_vreg = 0.0006873, .body = 151.6,
     .visited = 400.5, .skipped = 290.4, .output_row = 0.3309, .output_row_tile = 0.302}},
    {"v5p", SplashLibrary::kJax, Kind::kFused, {.vreg = 8.097, .vreg_tile = 8.945,
     .vreg_masked = 0.3858, .vreg_soft_cap = 0.2342, .vreg_f32 = 0.3707, .iteration = 223.4,
     .visited = 647.2, .skipped = 394.1, .output_row = 0.6801, .output_row_tile = 0.5777}},
    {"v5p", SplashLibrary::kJax, Kind::kFwd, {.vreg = 3.976, .vreg_tile = 3.565,
     .vreg_masked = 0.3215, .vreg_f32 = 0.006269, .iteration = 150.5, .body = 19.81,
     .k_rows_short_tile = 0.1584, .vreg_wide = 0.1557, .visited = 362.2,
     .visited_residuals = 22.83, .skipped = 222.1, .output_row = 1.209,
     .output_row_residuals = 0.1547, .output_row_tile = 0.2958}},
    {"v6e", SplashLibrary::kJax, Kind::kDkv, {.vreg = 3.464, .vreg_tile = 0.8215,
     .vreg_masked = 0.4, .vreg_segments = 0.1101, .vreg_soft_cap = 1.4, .vreg_f32 = 0.1208,
     .iteration = 141.2, .iteration_vreg = 0.466, .body = 27.29, .visited = 386.7,
     .skipped = 247.9, .output_row = 0.3284, .output_row_tile = 0.3055}},
    {"v6e", SplashLibrary::kJax, Kind::kDq, {.vreg = 3.3, .vreg_tile = 0.228,
     .vreg_masked = 0.08551, .vreg_stored = 0.09798, .vreg_segments = 0.3185,
     .vreg_soft_cap = 1.308, .vreg_f32 = 0.1565, .body = 153.2, .visited = 296.3,
     .skipped = 195.9, .output_row = 0.1746, .output_row_tile = 0.1772}},
    {"v6e", SplashLibrary::kJax, Kind::kFused, {.vreg = 4.236, .vreg_tile = 0.9444,
     .vreg_masked = 0.4, .vreg_segments = 0.04244, .vreg_soft_cap = 1.416, .vreg_f32 = 0.02925,
     .iteration = 267.2, .iteration_vreg = 0.4277, .visited = 485, .skipped = 272.3,
     .output_row = 0.3479, .output_row_tile = 0.3757}},
    {"v6e", SplashLibrary::kJax, Kind::kFwd, {.vreg = 2.418, .vreg_tile = 0.14,
     .vreg_masked = 0.2778, .vreg_segments = 0.1961, .vreg_soft_cap = 0.3981, .vreg_f32 = 0.143,
     .iteration = 192.8, .body = 68.07, .vreg_wide = 0.3315, .visited = 294.6,
     .visited_residuals = 21.1, .skipped = 184, .output_row = 0.4764,
     .output_row_residuals = 0.1577, .output_row_tile = 0.09051}},
    {"tpu7x", SplashLibrary::kTokamax, Kind::kFused, {.vreg = 4.841, .vreg_tile = -0.06147,
     .vreg_masked = 0.1648, .vreg_masked_tile = 0.1877, .iteration = 14.09, .body = 165.2,
     .vreg_static = -0.03565, .body_static = 201.6, .visited = 452.1, .output_row = 0.23,
     .output_row_tile = 0.1979}},
    {"tpu7x", SplashLibrary::kTokamax, Kind::kFwd, {.vreg = 2.455, .vreg_tile = 0.578,
     .vreg_masked = 0.2306, .vreg_masked_tile = 0.09346, .iteration = 94.85,
     .iteration_vreg = 0.02787, .body = 45.48, .vreg_lp = -0.2108, .vreg_tile_lp = -0.3042,
     .vreg_static = 0.04201, .body_static = 92.18, .k_rows = 0.1542,
     .k_rows_short_tile = 0.5435, .vreg_wide = -0.02326, .vreg_wide_masked = 0.1765,
     .visited = 292, .visited_residuals = 107, .output_row = 0.3048,
     .output_row_residuals = 0.1696, .output_row_tile = 0.1049, .output_row_lp = 0.1415,
     .output_row_residuals_lp = 0.3611}},
    {"v5p", SplashLibrary::kTokamax, Kind::kFwd, {.vreg = 3.922, .vreg_tile = 3.745,
     .vreg_masked = 0.03437, .vreg_masked_tile = 0.04949, .iteration = 63.82,
     .iteration_vreg = 0.4544, .vreg_lp = -0.02604, .vreg_tile_lp = -0.1018,
     .vreg_static = 0.05201, .body_static = 91.13, .k_rows = 0.02772, .vreg_wide = 0.1853,
     .vreg_wide_masked = 0.1615, .visited = 330.7, .visited_residuals = 128.4,
     .output_row = 0.8207, .output_row_residuals = 0.2417, .output_row_tile = 0.2048,
     .output_row_lp = 0.8822, .output_row_residuals_lp = 0.5112}},
    {"v6e", SplashLibrary::kTokamax, Kind::kFwd, {.vreg = 2.49, .vreg_tile = 0.03951,
     .vreg_masked = 0.1111, .vreg_masked_tile = 0.03194, .iteration_vreg = 0.007764,
     .body = 151.1, .vreg_lp = -0.1078, .vreg_tile_lp = 0.06966, .vreg_static = 0.02738,
     .body_static = 73.69, .k_rows = 0.08507, .k_rows_short_tile = 0.03648,
     .vreg_wide = -0.03494, .vreg_wide_masked = 0.327, .iteration_vreg_wide_lp = 0.1993,
     .visited = 290.2, .visited_residuals = 122.8, .output_row = 0.3308,
     .output_row_residuals = 0.1601, .output_row_tile = 0.1389, .output_row_lp = 0.1157,
     .output_row_residuals_lp = 0.3836}},
};
// clang-format on

struct Timing {
  std::string_view chip;
  bool is_backward;
  TimeConstants constants;
};

// By the same, from tokamax's autotuning cache (tests/planner/data/tokamax_timings.csv), without
// the shapes that it holds out.
constexpr Timing kTimings[] = {
    {"tpu7x",
     true,
     {.clock = 0.7916,
      .latency = 0.8281,
      .bandwidth = 0.8304,
      .copy = 1.6,
      .transpose = 1.643,
      .stream = 1.287,
      .call = 10.07,
      .lists = 0.05273,
      .uncertainty = 0.02412}},
    {"tpu7x",
     false,
     {.clock = 0.8514,
      .step = 0.1111,
      .latency = 0.6979,
      .bandwidth = 0.9598,
      .copy = 1.341,
      .transpose = 1.019,
      .stream = 1.307,
      .call = 34.95,
      .lists = 0.04361,
      .uncertainty = 0.02539}},
    {"v5p",
     false,
     {.clock = 0.9743,
      .step = 0.06605,
      .latency = 0.1536,
      .bandwidth = 0.9434,
      .copy = 1.031,
      .transpose = 1.17,
      .stream = 1.21,
      .call = 11.06,
      .lists = 0.01913,
      .uncertainty = 0.02469}},
    {"v6e",
     false,
     {.clock = 0.9671,
      .step = 0.06338,
      .latency = 0.2441,
      .bandwidth = 1,
      .copy = 1.149,
      .transpose = 1.543,
      .stream = 1.163,
      .call = 1.999,
      .lists = -0.01153,
      .uncertainty = 0.01889}},
};

const Schedule* FindSchedule(std::string_view chip, SplashLibrary library, Kind kind) {
  for (const Schedule& schedule : kSchedules) {
    if (schedule.chip == chip && schedule.library == library && schedule.kind == kind) {
      return &schedule;
    }
  }
  return nullptr;
}

const Timing* FindTiming(std::string_view chip, bool is_backward) {
  for (const Timing& timing : kTimings) {
    if (timing.chip == chip && timing.is_backward == is_backward) return &timing;
  }
  return nullptr;
}

}  // namespace

FittedSchedule ScheduleOf(const TpuSpec& spec, SplashLibrary library, TpuKernel kernel) {
  const Kind kind = KindOf(kernel);
  if (const Schedule* own = FindSchedule(spec.name, library, kind)) return {own->constants, true};
  // All kernels of JAX are there for all chips.
  return {FindSchedule(spec.name, SplashLibrary::kJax, kind)->constants, false};
}

FittedTime TimeOf(const TpuSpec& spec, bool is_backward) {
  if (const Timing* own = FindTiming(spec.name, is_backward)) return {own->constants, true, true};
  if (const Timing* forward = FindTiming(spec.name, false))
    return {forward->constants, true, false};
  // v4 and v5e have the matrix units of v5p.
  return {FindTiming("v5p", false)->constants, false, false};
}

}  // namespace splashmask
