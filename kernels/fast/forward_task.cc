// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/forward_task.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/fast/forward_task.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/highway.h>

#include "splashmask/kernels/fast/exp-inl.h"
#include "splashmask/kernels/fast/operands-inl.h"
#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Lanes of a group's panels: the same rows of as many heads as fit, or a part of one head's rows.
struct PanelShape {
  int64_t heads, rows;     // In a panel, at most.
  int64_t of_head, count;  // Panels for one head (1 when heads share), and all.

  explicit PanelShape(const ForwardRows& group) {
    const int64_t width = PanelWidth();
    heads = std::clamp<int64_t>(width / group.rows, 1, group.heads);
    rows = std::min(width, group.rows);
    of_head = (group.rows + width - 1) / width;
    count = (group.heads + heads - 1) / heads * of_head;
  }

  PanelLanes At(const ForwardRows& group, int64_t panel) const {
    const int64_t head = panel / of_head * heads, row = panel % of_head * rows;
    return {head, std::min(heads, group.heads - head), row, std::min(rows, group.rows - row)};
  }
};

// The state of the rows that share a panel.
struct ForwardPanel {
  PanelRows rows;
  float* q;          // [dim][width], transposed, or as the operands want it.
  float* out;        // [dim_v][width], transposed, not yet divided by the sum.
  float *max, *sum;  // [width]

  static int64_t Size(int64_t dim, int64_t dim_v) {
    return (dim + dim_v + 2) * PanelWidth() + PanelRows::Size();
  }

  ForwardPanel(float* memory, int64_t dim, int64_t dim_v, const PanelLanes& lanes) {
    const int64_t width = PanelWidth();
    q = memory;
    out = q + dim * width;
    max = out + dim_v * width;
    sum = max + width;
    rows = PanelRows(sum + width, lanes);
  }
};

template <class Operands>
class Forward {
 public:
  Forward(const ForwardTask& task, Scratch& scratch)
      : task_(task),
        mask_(scratch),
        logits_(scratch.Take(kTile * width_)),
        operands_(task, scratch),
        panels_(scratch.Take(CountPanels(task) * ForwardPanel::Size(task.dim, task.dim_v))) {}

  void Run() {
    ForEachGroup([&](const ForwardRows& group, int64_t first_panel) {
      if (!group.visits.left.empty()) return;
      for (int64_t i = 0; i < PanelShape(group).count; ++i) {
        const ForwardPanel panel = PanelAt(group, first_panel, i);
        Begin(group, panel);
        Finish(group, panel);
      }
    });
    ForEachTile(task_.groups, [&](const Tile& tile) { RunTile(tile); });
  }

 private:
  static int64_t CountPanels(const ForwardTask& task) {
    int64_t count = 0;
    for (const ForwardRows& group : task.groups) count += PanelShape(group).count;
    return count;
  }

  // Calls work(group, its first panel).
  template <class Work>
  void ForEachGroup(const Work& work) const {
    int64_t panel = 0;
    for (const ForwardRows& group : task_.groups) {
      work(group, panel);
      panel += PanelShape(group).count;
    }
  }

  ForwardPanel PanelAt(const ForwardRows& group, int64_t first_panel, int64_t index) const {
    return {panels_ + (first_panel + index) * ForwardPanel::Size(task_.dim, task_.dim_v), task_.dim,
            task_.dim_v, PanelShape(group).At(group, index)};
  }

  void Begin(const ForwardRows& group, const ForwardPanel& panel) {
    const PanelLanes& lanes = panel.rows.lanes;
    std::fill_n(panel.max, width_, -kInfinity);
    std::fill_n(panel.sum, width_, 0.0f);
    std::fill_n(panel.out, task_.dim_v * width_, 0.0f);
    if (lanes.count() < width_) std::fill_n(panel.q, task_.dim * width_, 0.0f);
    for (int64_t h = 0; h < lanes.heads; ++h) {
      operands_.MakePanel(OfHead(group.q, group.q_head, lanes.first_head + h), lanes.first_row,
                          lanes.rows, panel.q + h * lanes.rows);
      if (group.sinks == nullptr) continue;
      std::fill_n(panel.max + h * lanes.rows, lanes.rows, group.sinks[lanes.first_head + h]);
      std::fill_n(panel.sum + h * lanes.rows, lanes.rows, 1.0f);
    }
    panel.rows.Fill(group.mask);
  }

  // The first tile of a group begins its panels, the last one finishes them: what comes from memory
  // for the one, or goes there for the other, is fetched while the panel before is at work.
  void RunTile(const Tile& tile) {
    int64_t panels = 0, index = 0;  // That visit the tile.
    for (const ForwardRows& group : task_.groups) {
      if (tile.VisitOf(group.visits) != nullptr) panels += PanelShape(group).count;
    }
    bool is_loaded = false;
    ForEachGroup([&](const ForwardRows& group, int64_t first_panel) {
      const Visit* const visit = tile.VisitOf(group.visits);
      if (visit == nullptr) return;
      const PanelShape shape(group);
      for (int64_t i = 0; i < shape.count; ++i) {
        const ForwardPanel panel = PanelAt(group, first_panel, i);
        if (tile.IsFirstOf(group.visits)) {
          Begin(group, panel);
          if (i + 1 < shape.count) FetchQ(group, shape.At(group, i + 1));
        }
        const bool is_last = tile.IsLastOf(group.visits);
        if (is_last) FetchOut(group, panel.rows.lanes);
        RunPanel(tile, *visit, group, panel, index++, panels, is_loaded);
        if (is_last) Finish(group, panel);
      }
    });
  }

  void FetchQ(const ForwardRows& group, const PanelLanes& lanes) const {
    for (int64_t h = 0; h < lanes.heads; ++h) {
      Prefetch(OfHead(group.q, group.q_head, lanes.first_head + h), lanes.first_row, lanes.rows,
               task_.dim);
    }
  }
  void FetchOut(const ForwardRows& group, const PanelLanes& lanes) const {
    for (int64_t h = 0; h < lanes.heads; ++h) {
      Prefetch<true>(OfHead(group.out, group.out_head, lanes.first_head + h), lanes.first_row,
                     lanes.rows, task_.dim_v);
    }
  }

  void RunPanel(const Tile& tile, const Visit& visit, const ForwardRows& group,
                const ForwardPanel& panel, int64_t index, int64_t panels_of_tile, bool& is_loaded) {
    const TileMask::Seen seen = mask_.Look(panel.rows, group.mask, visit, tile.kv, tile.count);
    if (seen.count == 0) return;
    if (!is_loaded) operands_.Load(tile);
    is_loaded = true;
    PrefetchNext(task_.k, tile, task_.dim, index, panels_of_tile);
    // Positions before and after, to fill up what is multiplied together, get no weight.
    const TileMask::Seen whole = seen.Whole(Operands::kTogether);
    float* const logits = logits_ + (seen.begin - whole.begin) * width_;
    operands_.Logits(seen.begin, seen.count, panel.q, logits);
    if (task_.soft_cap != 0) Cap(task_.soft_cap, seen.count, logits, width_);
    if (!seen.all) mask_.Hide(panel.rows, seen.count, logits, width_);
    std::fill(logits_, logits, -kInfinity);
    std::fill(logits + seen.count * width_, logits_ + whole.count * width_, -kInfinity);
    const ScaleAndAdd rescale = Softmax(panel, whole.count);
    PrefetchNext(task_.v, tile, task_.dim_v, index, panels_of_tile);
    operands_.AddValues(whole.begin, whole.count, logits_, rescale, panel.out);
  }

  // Logits become weights, relative to the largest logit so far.
  ScaleAndAdd Softmax(const ForwardPanel& panel, int64_t count) {
    // Not members, which would be read again after every store.
    float* const logits = logits_;
    const int64_t width = width_, lanes = lanes_;
    const V32 hidden = hn::Set(d_, -kInfinity);
    V32 largest[kVectors], next[kVectors];
    for (int i = 0; i < kVectors; ++i) largest[i] = next[i] = hidden;
    // A NaN may be lost here; its weight is NaN all the same. Every other position has a maximum of
    // its own, since each waits for the one before.
    const auto look = [&](int64_t c, V32* so_far) HWY_ATTR {
      for (int i = 0; i < kVectors; ++i) {
        so_far[i] = hn::Max(so_far[i], hn::Load(d_, logits + c * width + i * lanes));
      }
    };
    for (int64_t c = 0; c + 1 < count; c += 2) {
      look(c, largest);
      look(c + 1, next);
    }
    if (count % 2 != 0) look(count - 1, largest);
    ScaleAndAdd rescale{};
    V32 base[kVectors], sum[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      const V32 before = hn::Load(d_, panel.max + i * lanes);
      const V32 of_tile = hn::Max(largest[i], next[i]);
      // Lanes that see nothing stay as they are, whatever a sink has made of them.
      const auto is_idle = hn::Eq(of_tile, hidden);
      const V32 after = hn::IfThenElse(is_idle, before, hn::Max(before, of_tile));
      hn::Store(after, d_, panel.max + i * lanes);
      // Where nothing was seen so far, any finite number makes exp(-inf - it) 0.
      base[i] = hn::IfThenZeroElse(hn::Or(is_idle, hn::Eq(after, hidden)), after);
      rescale.scale[i] = hn::IfThenElse(hn::Or(is_idle, hn::Eq(before, after)), hn::Set(d_, 1.0f),
                                        ExpOfNegative(d_, hn::Sub(before, base[i])));
      sum[i] = hn::Zero(d_);
    }
    const auto weigh = [&]<int kPositions>(std::integral_constant<int, kPositions>, int64_t c)
                           HWY_ATTR {
                             float* const at = logits + c * width;
                             V32 x[kPositions * kVectors];
                             for (int n = 0; n < kPositions * kVectors; ++n) {
                               x[n] = hn::Sub(hn::Load(d_, at + n * lanes), base[n % kVectors]);
                             }
                             ExpOfNegatives(d_, x);
                             for (int n = 0; n < kPositions * kVectors; ++n) {
                               hn::Store(x[n], d_, at + n * lanes);
                               sum[n % kVectors] = hn::Add(sum[n % kVectors], x[n]);
                             }
                           };
    constexpr int kTogether = 4;
    int64_t c = 0;
    for (; c + kTogether <= count; c += kTogether) {
      weigh(std::integral_constant<int, kTogether>(), c);
    }
    for (; c < count; ++c) weigh(std::integral_constant<int, 1>(), c);
    for (int i = 0; i < kVectors; ++i) {
      float* const total = panel.sum + i * lanes;
      hn::Store(hn::MulAdd(hn::Load(d_, total), rescale.scale[i], sum[i]), d_, total);
    }
    return rescale;
  }

  void Finish(const ForwardRows& group, const ForwardPanel& panel) {
    const PanelLanes& lanes = panel.rows.lanes;
    for (int64_t h = 0; h < lanes.heads; ++h) {
      const int64_t head = lanes.first_head + h, begin = h * lanes.rows;
      if (group.logsumexp != nullptr) {
        float* const logsumexp = group.logsumexp + head * group.logsumexp_head + lanes.first_row;
        for (int64_t i = 0; i < lanes.rows; ++i) {
          logsumexp[i] = panel.max[begin + i] + std::log(panel.sum[begin + i]);
        }
      }
      // Sums turn into factors.
      for (int64_t i = begin; i < begin + lanes.rows; ++i) {
        panel.sum[i] = panel.sum[i] == 0 ? 0 : 1 / panel.sum[i];
      }
      PanelToRows(panel.out + begin, width_, panel.sum + begin, task_.dim_v,
                  OfHead(group.out, group.out_head, head), lanes.first_row, lanes.rows);
    }
  }

  static constexpr F32 d_{};
  const int64_t lanes_ = static_cast<int64_t>(hn::Lanes(F32()));
  const int64_t width_ = PanelWidth();
  const ForwardTask& task_;
  TileMask mask_;
  float* const logits_;  // [kTile][width]
  Operands operands_;
  float* const panels_;
};

int64_t ForwardScratch(const ForwardTask& task) {
  return PairOperands::Serve(task) ? CountScratch<Forward<PairOperands>>(task)
                                   : CountScratch<Forward<FloatOperands>>(task);
}

void RunForward(const ForwardTask& task, float* scratch) {
  if (PairOperands::Serve(task)) {
    RunKernel<Forward<PairOperands>>(task, scratch);
  } else {
    RunKernel<Forward<FloatOperands>>(task, scratch);
  }
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask::fast {

HWY_EXPORT(ForwardScratch);
HWY_EXPORT(RunForward);
HWY_EXPORT(TargetName);

int64_t ForwardScratch(const ForwardTask& task) {
  return HWY_DYNAMIC_DISPATCH(ForwardScratch)(task);
}

void RunForward(const ForwardTask& task, float* scratch) {
  HWY_DYNAMIC_DISPATCH(RunForward)(task, scratch);
}

const char* TargetName() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace splashmask::fast
#endif  // HWY_ONCE
