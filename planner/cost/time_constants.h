// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fitted constants of the time model; docs/cost-model.md says what each means and how well it
// fits. Private to planner/cost.

#include "splashmask/planner/cost/attention_config.h"
#include "splashmask/planner/cost/time_model.h"
#include "splashmask/planner/cost/tpu_spec.h"

namespace splashmask {

/// Bundles of the compiler's schedule (a bundle is issued each cycle). A *vreg* is a vector
/// register of logits: 8 by 128 of a block's.
struct ScheduleConstants {
  // Of a body, which computes one block: of each of its vregs,
  double vreg = 0;
  double vreg_tile = 0;         ///< for each 128 of the head dimensions beyond the first,
  double vreg_masked = 0;       ///< where a mask is applied,
  double vreg_masked_tile = 0;  ///< the same for each 128 of the head dimensions (tokamax),
  double vreg_stored = 0;       ///< where the mask is read from partial_mask_blocks,
  double vreg_segments = 0;     ///< with segment ids,
  double vreg_soft_cap = 0;     ///< with a soft cap,
  double vreg_f32 = 0;          ///< with float32 operands;
  double iteration = 0;         ///< of each compute block,
  double iteration_vreg = 0;    ///< of each vreg of one, as not all compute blocks overlap;
  double body = 0;              ///< and once.
  // Of the same, in tokamax's forward kernel: with use_experimental_scheduler,
  double vreg_lp = 0;
  double vreg_tile_lp = 0;
  double vreg_static = 0;  ///< where the grid has no lists,
  double body_static = 0;  ///< and once.
  // Forward, of k with its head dimension minor: of each row of a compute block (tokamax), and of
  // the block where it has few q rows, as vreg_tile.
  double k_rows = 0;
  double k_rows_short_tile = 0;
  // With block_kv_compute of 1024 and more, forward.
  double vreg_wide = 0;               ///< Without use_experimental_scheduler.
  double vreg_wide_masked = 0;        ///< Masked (tokamax).
  double iteration_vreg_wide_lp = 0;  ///< With it.
  // Of the loop over the grid.
  double visited = 0;            ///< A step that runs a body.
  double visited_residuals = 0;  ///< More where residuals are written.
  double skipped = 0;            ///< A step that does not.
  // Of an output block, started and written: of each of its rows.
  double output_row = 0;
  double output_row_residuals = 0;
  double output_row_tile = 0;
  double output_row_lp = 0;
  double output_row_residuals_lp = 0;
};

/// What timings tell beyond the schedule. Shares are of what TpuSpec says of the chip.
struct TimeConstants {
  double clock = 1;        ///< Share of the clock at which bundles are issued.
  double step = 0;         ///< Microseconds that a step takes beyond its bundles.
  double latency = 0;      ///< Microseconds of a step's copies, however small.
  double bandwidth = 1;    ///< Share of HBM bandwidth that the kernel's copies see.
  double copy = 1;         ///< Passes around the kernel take so many times their bytes: heads and
  double transpose = 1;    ///< positions change places; so do positions and head dimension;
  double stream = 1;       ///< elementwise and reductions.
  double call = 0;         ///< Microseconds of a call.
  double lists = 0;        ///< Share beyond the schedule where the grid follows tables or lists.
  double uncertainty = 0;  ///< Of the whole: root mean square error over held-out shapes.
};

/// The constants of a kernel's schedule on a chip.
struct FittedSchedule {
  ScheduleConstants constants;
  bool is_compiled;  ///< false: those of another chip, or of JAX's kernel.
};
FittedSchedule ScheduleOf(const TpuSpec& spec, SplashLibrary library, TpuKernel kernel);

/// The constants of a chip's timings, forward or backward.
struct FittedTime {
  TimeConstants constants;
  bool is_chip_timed;       ///< false: those of another chip.
  bool is_direction_timed;  ///< false: those of its forward pass.
};
FittedTime TimeOf(const TpuSpec& spec, bool is_backward);

}  // namespace splashmask
