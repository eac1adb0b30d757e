// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/dkv_task.h"

#include <algorithm>
#include <thread>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/fast/dkv_task.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "splashmask/kernels/fast/gradient_operands-inl.h"
#include "splashmask/kernels/fast/gradients-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class Operands>
class Dkv {
 public:
  Dkv(const DkvTask& task, Scratch& scratch)
      : task_(task),
        masks_{TileMask(scratch), TileMask(scratch)},
        gradients_(task.soft_cap, scratch),
        operands_({task.kv_count, kPanels, task.dim, task.dim_v, true}, scratch),
        sums_{scratch.Take(Padded(task.dim) * task.kv_count),
              scratch.Take(Padded(task.dim_v) * task.kv_count)},
        dq_(scratch.Take(kPanels * task.dim * width_)),
        panels_(scratch.Take(kPanels * GradientPanel::Size())) {
    static_assert(kPanels == 2);
  }

  void Run() {
    std::fill_n(sums_.dk, Padded(task_.dim) * task_.kv_count, 0.0f);
    std::fill_n(sums_.dv, Padded(task_.dim_v) * task_.kv_count, 0.0f);
    operands_.LoadPositions(task_.k, task_.v, task_.kv_begin, task_.kv_count);
    for (const QVisit& visit : task_.visits) {
      for (int64_t first = 0; first < visit.rows.count; first += kPanels * width_) {
        RunPanels(visit, first);
      }
      if (visit.dq.sums != nullptr) EndTurn(visit.dq);
    }
    Finish(sums_.dk, task_.dim, task_.dk);
    Finish(sums_.dv, task_.dim_v, task_.dv);
  }

 private:
  // The panels whose rows are [first, first + kPanels * width) of a visit.
  void RunPanels(const QVisit& visit, int64_t first) {
    const int64_t rows = std::min(kPanels * width_, visit.rows.count - first);
    const int panels = static_cast<int>((rows + width_ - 1) / width_);
    for (int i = 0; i < panels; ++i) PanelAt(first, rows, i).rows.Fill(visit.rows.mask);
    bool is_loaded = false;
    for (int64_t begin = 0; begin < task_.kv_count; begin += kTile) {
      TileMask::Seen seen[kPanels];
      const TileMask::Seen by_any = Look(visit, first, rows, panels, begin, seen);
      if (by_any.count == 0) continue;
      if (!is_loaded) Load(visit.rows, first, rows, panels);
      is_loaded = true;
      const int64_t end = by_any.begin + by_any.count;
      for (int i = 0; i < panels; ++i) {
        const int64_t own_begin = seen[i].begin, own_end = own_begin + seen[i].count;
        if (seen[i].count == 0) {
          gradients_.Clear(i, by_any.begin, by_any.count);
          continue;
        }
        gradients_.Clear(i, by_any.begin, own_begin - by_any.begin);
        gradients_.Clear(i, own_end, end - own_end);
        gradients_.Compute(PanelAt(first, rows, i), i, masks_[i], !seen[i].all, operands_, i,
                           begin + own_begin, own_begin, seen[i].count);
        if (visit.dq.sums != nullptr) AddDq(i, begin, seen[i]);
      }
      const int64_t there = std::min(by_any.count, task_.kv_count - begin - by_any.begin);
      operands_.AddToPositions(gradients_.weights(by_any.begin), gradients_.d_logits(by_any.begin),
                               begin + by_any.begin, there, sums_);
    }
    if (visit.dq.sums == nullptr) return;
    for (int i = 0; i < panels; ++i) {
      AddToSums(visit.dq, PanelAt(first, rows, i).rows.lanes, dq_ + i * task_.dim * width_,
                is_loaded);
    }
  }

  // What the panels see of the tile at `begin`, and what any of them sees: whole groups of
  // positions that are multiplied together.
  TileMask::Seen Look(const QVisit& visit, int64_t first, int64_t rows, int panels, int64_t begin,
                      TileMask::Seen* seen) {
    const int64_t kv = task_.kv_begin + begin, count = std::min(kTile, task_.kv_count - begin);
    int64_t seen_begin = count, seen_end = 0;
    for (int i = 0; i < panels; ++i) {
      seen[i] =
          masks_[i].Look(PanelAt(first, rows, i).rows, visit.rows.mask, visit.visit, kv, count);
      if (seen[i].count == 0) continue;
      seen_begin = std::min(seen_begin, seen[i].begin);
      seen_end = std::max(seen_end, seen[i].begin + seen[i].count);
    }
    if (seen_begin >= seen_end) return {};
    return TileMask::Seen{seen_begin, seen_end - seen_begin}.Whole(Operands::kTogether);
  }

  // One of the panels of rows [first, first + rows).
  GradientPanel PanelAt(int64_t first, int64_t rows, int index) const {
    return {panels_ + index * GradientPanel::Size(), first + index * width_,
            std::min(width_, rows - index * width_)};
  }

  void Load(const GradientRows& of, int64_t first, int64_t rows, int panels) {
    for (int i = 0; i < panels; ++i) {
      const GradientPanel panel = PanelAt(first, rows, i);
      operands_.LoadPanel(i, of, panel.rows.lanes.first_row, panel.rows.lanes.rows);
      panel.Load(of);
    }
    operands_.LoadRows(of, first, rows);
    std::fill_n(dq_, kPanels * task_.dim * width_, 0.0f);
  }

  void AddDq(int panel, int64_t begin, const TileMask::Seen& seen) {
    const TileMask::Seen whole = seen.Whole(Operands::kTogether);
    operands_.AddDq(gradients_.d_logits(whole.begin) + panel * width_, begin + whole.begin,
                    whole.count, dq_ + panel * task_.dim * width_);
  }

  // Adds [dim][width], 0 if the panel saw nothing, once the visits before have added theirs.
  void AddToSums(const DqSums& dq, const PanelLanes& lanes, const float* own, bool has_seen) const {
    if (!AwaitTurn(dq)) return;
    const int64_t count = lanes.rows;
    float* const sums = dq.sums + lanes.first_row * task_.dim;
    const bool is_first = dq.number == 0;
    if (!has_seen) {
      if (is_first) std::fill_n(sums, count * task_.dim, 0.0f);
      return;
    }
    const F32 f;
    const auto vector = static_cast<int64_t>(hn::Lanes(f));
    for (int64_t d = 0; d < task_.dim; ++d) {
      const float* const from = own + d * width_;
      float* const to = sums + d * count;
      int64_t i = 0;
      for (; i + vector <= count; i += vector) {
        const V32 mine = hn::Load(f, from + i);
        hn::StoreU(is_first ? mine : hn::Add(mine, hn::LoadU(f, to + i)), f, to + i);
      }
      for (; i < count; ++i) to[i] = is_first ? from[i] : from[i] + to[i];
    }
  }

  // False when it will never come.
  bool AwaitTurn(const DqSums& dq) const {
    for (int spins = 0; dq.turn->load(std::memory_order_acquire) != dq.number; ++spins) {
      if (task_.is_abandoned->load(std::memory_order_relaxed)) return false;
      if (spins < 1000) {
        hwy::Pause();
      } else {
        std::this_thread::yield();
      }
    }
    return true;
  }

  void EndTurn(const DqSums& dq) const {
    if (AwaitTurn(dq)) dq.turn->store(dq.number + 1, std::memory_order_release);
  }

  void Finish(const float* sums, int64_t dim, const OutputRows& out) const {
    for (int64_t c = 0; c < task_.kv_count; ++c) {
      for (int64_t begin = 0; begin < dim; begin += width_) {
        const float* const part = sums + begin * task_.kv_count + c * width_;
        const int64_t there = std::min(width_, dim - begin);
        int64_t d = 0;
        for (; out.dim == 1 && d + kSquare <= there; d += kSquare) {
          SetFour(out, task_.kv_begin + c, begin + d, hn::LoadU(F32x4(), part + d));
        }
        for (; d < there; ++d) SetAt(out, task_.kv_begin + c, begin + d, part[d]);
      }
    }
  }

  const int64_t width_ = PanelWidth();
  const DkvTask& task_;
  TileMask masks_[kPanels];
  Gradients gradients_;
  Operands operands_;
  PositionSums sums_;
  float* const dq_;  // [kPanels][dim][width]
  float* const panels_;
};

int64_t DkvScratch(int64_t kv_count, int64_t dim, int64_t dim_v) {
  DkvTask task;
  task.kv_count = kv_count;
  task.dim = dim;
  task.dim_v = dim_v;
  return std::max(CountScratch<Dkv<FloatGradientOperands>>(task),
                  CountScratch<Dkv<PairGradientOperands>>(task));
}

void RunDkv(const DkvTask& task, float* scratch) {
  const bool are_pairs =
      !task.visits.empty() && PairGradientOperands::Serve(task.visits[0].rows, task.k, task.v);
  if (are_pairs) {
    RunKernel<Dkv<PairGradientOperands>>(task, scratch);
  } else {
    RunKernel<Dkv<FloatGradientOperands>>(task, scratch);
  }
}

int64_t WriteDqScratch(int64_t dim) { return dim * PanelWidth(); }

void WriteDq(const float* sums, int64_t rows, int64_t dim, const OutputRows& dq, float* scratch) {
  for (int64_t first = 0; first < rows; first += PanelWidth()) {
    const int64_t count = std::min(PanelWidth(), rows - first);
    if (sums != nullptr) {
      std::copy_n(sums + first * dim, count * dim, scratch);
    } else {
      std::fill_n(scratch, count * dim, 0.0f);
    }
    PanelToRows(scratch, count, nullptr, dim, dq, first, count);
  }
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask::fast {

HWY_EXPORT(DkvScratch);
HWY_EXPORT(RunDkv);
HWY_EXPORT(WriteDq);
HWY_EXPORT(WriteDqScratch);

int64_t DkvScratch(int64_t kv_count, int64_t dim, int64_t dim_v) {
  return HWY_DYNAMIC_DISPATCH(DkvScratch)(kv_count, dim, dim_v);
}
void RunDkv(const DkvTask& task, float* scratch) { HWY_DYNAMIC_DISPATCH(RunDkv)(task, scratch); }
void WriteDq(const float* sums, int64_t rows, int64_t dim, const OutputRows& dq, float* scratch) {
  HWY_DYNAMIC_DISPATCH(WriteDq)(sums, rows, dim, dq, scratch);
}
int64_t WriteDqScratch(int64_t dim) { return HWY_DYNAMIC_DISPATCH(WriteDqScratch)(dim); }

}  // namespace splashmask::fast
#endif  // HWY_ONCE
