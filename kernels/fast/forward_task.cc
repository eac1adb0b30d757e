// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/forward_task.h"

#include <algorithm>
#include <cmath>

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

// The state of the rows that share a panel.
struct ForwardPanel {
  PanelRows rows;
  float* q;          // [dim][width], transposed, or as the operands want it.
  float* out;        // [dim_v][width], transposed, not yet divided by the sum.
  float *max, *sum;  // [width]

  static int64_t Size(int64_t dim, int64_t dim_v) {
    return (dim + dim_v + 2) * PanelWidth() + PanelRows::Size();
  }

  ForwardPanel(float* memory, int64_t dim, int64_t dim_v, int64_t first, int64_t count) {
    const int64_t width = PanelWidth();
    q = memory;
    out = q + dim * width;
    max = out + dim_v * width;
    sum = max + width;
    rows = PanelRows(sum + width, first, count);
  }
};

template <class Operands>
class Forward {
 public:
  Forward(const ForwardTask& task, Scratch scratch)
      : task_(task),
        mask_(task.mask, scratch),
        logits_(scratch.Take(kTile * width_)),
        operands_(task, scratch),
        panels_(scratch.Take(panel_count() * ForwardPanel::Size(task.dim, task.dim_v))) {}

  static int64_t ScratchSize(int64_t rows, int64_t dim, int64_t dim_v) {
    const int64_t width = PanelWidth();
    return 2 * kTile + kTile * width + Operands::ScratchSize(dim, dim_v) + 3 * 16 +
           (rows + width - 1) / width * ForwardPanel::Size(dim, dim_v);
  }

  void Run() {
    bool is_first = true;
    ForEachTile(task_.visits, [&](const Tile& tile) {
      RunTile(tile, is_first);
      is_first = false;
    });
    if (!is_first) return;
    for (int64_t i = 0; i < panel_count(); ++i) {
      Begin(PanelAt(i));
      Finish(PanelAt(i));
    }
  }

 private:
  int64_t panel_count() const { return (task_.rows + width_ - 1) / width_; }
  ForwardPanel PanelAt(int64_t index) const {
    return {panels_ + index * ForwardPanel::Size(task_.dim, task_.dim_v), task_.dim, task_.dim_v,
            index * width_, std::min(width_, task_.rows - index * width_)};
  }

  void Begin(const ForwardPanel& panel) {
    operands_.MakePanel(panel.rows.first, panel.rows.count, panel.q);
    std::fill_n(panel.out, task_.dim_v * width_, 0.0f);
    std::fill_n(panel.max, width_, task_.sink != nullptr ? *task_.sink : -kInfinity);
    std::fill_n(panel.sum, width_, task_.sink != nullptr ? 1.0f : 0.0f);
    panel.rows.Fill(task_.mask);
  }

  // The first tile begins every panel, the last one finishes it: what comes from memory for the
  // one, or goes there for the other, is fetched while the panel before is at work.
  void RunTile(const Tile& tile, bool is_first) {
    const bool is_last = tile.next_count == 0;
    bool is_loaded = false;
    for (int64_t i = 0; i < panel_count(); ++i) {
      const ForwardPanel panel = PanelAt(i);
      if (is_first) {
        Begin(panel);
        if (i + 1 < panel_count()) {
          const PanelRows& next = PanelAt(i + 1).rows;
          Prefetch(task_.q, next.first, next.count, task_.dim);
        }
      }
      if (is_last) Prefetch<true>(task_.out, panel.rows.first, panel.rows.count, task_.dim_v);
      RunPanel(tile, i, panel, is_loaded);
      if (is_last) Finish(panel);
    }
  }

  void RunPanel(const Tile& tile, int64_t index, const ForwardPanel& panel, bool& is_loaded) {
    const TileMask::Seen seen = mask_.Look(panel.rows, *tile.visit, tile.kv, tile.count);
    if (seen.count == 0) return;
    if (!is_loaded) operands_.Load(tile);
    is_loaded = true;
    PrefetchNext(task_.k, tile, task_.dim, index, panel_count());
    // Positions before and after, to fill up what is multiplied together, get no weight.
    constexpr int64_t kTogether = Operands::kTogether;
    const int64_t before = seen.begin % kTogether;
    const int64_t count = (before + seen.count + kTogether - 1) / kTogether * kTogether;
    float* const logits = logits_ + before * width_;
    operands_.Logits(seen.begin, seen.count, panel.q, logits);
    if (task_.soft_cap != 0) Cap(task_.soft_cap, seen.count, logits, width_);
    if (!seen.all) mask_.Hide(panel.rows, seen.count, logits, width_);
    std::fill(logits_, logits, -kInfinity);
    std::fill(logits + seen.count * width_, logits_ + count * width_, -kInfinity);
    const ScaleAndAdd rescale = Softmax(panel, count);
    PrefetchNext(task_.v, tile, task_.dim_v, index, panel_count());
    operands_.AddValues(seen.begin - before, count, seen.all, logits_, rescale, panel.out);
  }

  // Logits become weights, relative to the largest logit so far.
  ScaleAndAdd Softmax(const ForwardPanel& panel, int64_t count) {
    // Not members, which would be read again after every store.
    float* const logits = logits_;
    const int64_t width = width_, lanes = lanes_;
    const V32 hidden = hn::Set(d_, -kInfinity);
    V32 before[kVectors], largest[kVectors], next[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      before[i] = largest[i] = next[i] = hn::Load(d_, panel.max + i * lanes);
    }
    // A NaN may be lost here; its weight is NaN all the same. Every other position has a sum of its
    // own, since each waits for the one before.
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
      largest[i] = hn::Max(largest[i], next[i]);
      hn::Store(largest[i], d_, panel.max + i * lanes);
      // Lanes that have seen nothing: any finite number makes exp(-inf - it) 0.
      base[i] = hn::IfThenZeroElse(hn::Eq(largest[i], hidden), largest[i]);
      rescale.scale[i] = ExpOfNegative(d_, hn::Sub(before[i], base[i]));
      sum[i] = hn::Zero(d_);
    }
    for (int64_t c = 0; c < count; ++c) {
      for (int i = 0; i < kVectors; ++i) {
        float* const at = logits + c * width + i * lanes;
        const V32 weight = ExpOfNegative(d_, hn::Sub(hn::Load(d_, at), base[i]));
        hn::Store(weight, d_, at);
        sum[i] = hn::Add(sum[i], weight);
      }
    }
    for (int i = 0; i < kVectors; ++i) {
      float* const total = panel.sum + i * lanes;
      hn::Store(hn::MulAdd(hn::Load(d_, total), rescale.scale[i], sum[i]), d_, total);
    }
    return rescale;
  }

  void Finish(const ForwardPanel& panel) {
    const PanelRows& rows = panel.rows;
    if (task_.logsumexp != nullptr) {
      for (int64_t i = 0; i < rows.count; ++i) {
        task_.logsumexp[rows.first + i] = panel.max[i] + std::log(panel.sum[i]);
      }
    }
    // Sums turn into factors.
    for (int64_t i = 0; i < rows.count; ++i) {
      panel.sum[i] = panel.sum[i] == 0 ? 0 : 1 / panel.sum[i];
    }
    PanelToRows(panel.out, width_, panel.sum, task_.dim_v, task_.out, rows.first, rows.count);
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

int64_t ForwardScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  return std::max(Forward<FloatOperands>::ScratchSize(rows, dim, dim_v),
                  Forward<PairOperands>::ScratchSize(rows, dim, dim_v));
}

void RunForward(const ForwardTask& task, float* scratch) {
  if (PairOperands::Serve(task)) {
    Forward<PairOperands>(task, Scratch(scratch)).Run();
  } else {
    Forward<FloatOperands>(task, Scratch(scratch)).Run();
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

int64_t ForwardScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  return HWY_DYNAMIC_DISPATCH(ForwardScratch)(rows, dim, dim_v);
}

void RunForward(const ForwardTask& task, float* scratch) {
  HWY_DYNAMIC_DISPATCH(RunForward)(task, scratch);
}

const char* TargetName() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace splashmask::fast
#endif  // HWY_ONCE
