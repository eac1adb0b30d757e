// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/dq_task.h"

#include <algorithm>
#include <span>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/fast/dq_task.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/highway.h>

#include "splashmask/kernels/fast/gradient_operands-inl.h"
#include "splashmask/kernels/fast/gradients-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Operands>
class Dq {
 public:
  Dq(const DqTask& task, Scratch& scratch)
      : task_(task),
        mask_(scratch),
        gradients_(task.soft_cap, scratch),
        operands_({kTile, panel_count(), task.dim, task.dim_v, false}, scratch),
        dq_(scratch.Take(panel_count() * task.dim * width_)),
        panels_(scratch.Take(panel_count() * GradientPanel::Size())) {}

  void Run() {
    for (int64_t i = 0; i < panel_count(); ++i) {
      const GradientPanel panel = PanelAt(i);
      const PanelLanes& lanes = panel.rows.lanes;
      operands_.LoadPanel(i, task_.rows, lanes.first_row, lanes.rows);
      panel.Load(task_.rows);
      panel.rows.Fill(task_.rows.mask);
    }
    std::fill_n(dq_, panel_count() * task_.dim * width_, 0.0f);
    struct Only {
      VisitQueue visits;
    } only{task_.visits};
    ForEachTile(std::span(&only, 1),
                [&](const Tile& tile) { RunTile(tile, *tile.VisitOf(only.visits)); });
    for (int64_t i = 0; i < panel_count(); ++i) {
      const PanelLanes& lanes = PanelAt(i).rows.lanes;
      PanelToRows(dq_ + i * task_.dim * width_, width_, nullptr, task_.dim, task_.dq,
                  lanes.first_row, lanes.rows);
    }
  }

 private:
  int64_t panel_count() const { return (task_.rows.count + width_ - 1) / width_; }
  GradientPanel PanelAt(int64_t index) const {
    return {panels_ + index * GradientPanel::Size(), index * width_,
            std::min(width_, task_.rows.count - index * width_)};
  }

  void RunTile(const Tile& tile, const Visit& visit) {
    bool is_loaded = false;
    for (int64_t i = 0; i < panel_count(); ++i) {
      const GradientPanel panel = PanelAt(i);
      const TileMask::Seen seen =
          mask_.Look(panel.rows, task_.rows.mask, visit, tile.kv, tile.count);
      if (seen.count == 0) continue;
      if (!is_loaded) operands_.LoadPositions(task_.k, task_.v, tile.kv, tile.count);
      is_loaded = true;
      PrefetchNext(task_.k, tile, task_.dim, i, panel_count());
      PrefetchNext(task_.v, tile, task_.dim_v, i, panel_count());
      gradients_.Compute(panel, 0, mask_, !seen.all, operands_, i, seen.begin, seen.begin,
                         seen.count);
      const TileMask::Seen whole = seen.Whole(Operands::kTogether);
      const int64_t end = seen.begin + seen.count;
      gradients_.Clear(0, whole.begin, seen.begin - whole.begin);
      gradients_.Clear(0, end, whole.begin + whole.count - end);
      operands_.AddDq(gradients_.d_logits(whole.begin), whole.begin, whole.count,
                      dq_ + i * task_.dim * width_);
    }
  }

  const int64_t width_ = PanelWidth();
  const DqTask& task_;
  TileMask mask_;
  Gradients gradients_;
  Operands operands_;
  float* const dq_;  // [panel][dim][width], transposed.
  float* const panels_;
};

int64_t DqScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  DqTask task;
  task.rows.count = rows;
  task.dim = dim;
  task.dim_v = dim_v;
  return std::max(CountScratch<Dq<FloatGradientOperands>>(task),
                  CountScratch<Dq<PairGradientOperands>>(task));
}

void RunDq(const DqTask& task, float* scratch) {
  if (PairGradientOperands::Serve(task.rows, task.k, task.v)) {
    RunKernel<Dq<PairGradientOperands>>(task, scratch);
  } else {
    RunKernel<Dq<FloatGradientOperands>>(task, scratch);
  }
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask::fast {

HWY_EXPORT(DqScratch);
HWY_EXPORT(RunDq);

int64_t DqScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  return HWY_DYNAMIC_DISPATCH(DqScratch)(rows, dim, dim_v);
}

void RunDq(const DqTask& task, float* scratch) { HWY_DYNAMIC_DISPATCH(RunDq)(task, scratch); }

}  // namespace splashmask::fast
#endif  // HWY_ONCE
