// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/backward_task.h"

#include <algorithm>
#include <thread>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/fast/backward_task.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "splashmask/kernels/fast/exp-inl.h"
#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// What both passes need of the rows that share a panel.
struct BackwardPanel {
  PanelRows rows;
  float* q;               // [dim][width], transposed.
  float* d_out;           // [dim_v][width], transposed.
  float *logsumexp, *di;  // [width]; +inf for rows that see nothing, so that weights are 0.

  static int64_t Size(int64_t dim, int64_t dim_v) {
    return (dim + dim_v + 2) * PanelWidth() + PanelRows::Size();
  }

  BackwardPanel(float* memory, int64_t dim, int64_t dim_v, int64_t first, int64_t count) {
    const int64_t width = PanelWidth();
    q = memory;
    d_out = q + dim * width;
    logsumexp = d_out + dim_v * width;
    di = logsumexp + width;
    rows = PanelRows(di + width, {0, 1, first, count});
  }

  // All but what the rows see.
  void Load(const QRows& all, int64_t dim, int64_t dim_v) const {
    const int64_t width = PanelWidth(), first = rows.lanes.first_row, count = rows.lanes.rows;
    if (count < width) std::fill_n(q, (dim + dim_v) * width, 0.0f);
    RowsToPanel(all.q, first, count, dim, width, q);
    RowsToPanel(all.d_out, first, count, dim_v, width, d_out);
    for (int64_t i = 0; i < width; ++i) {
      const int64_t row = first + std::min(i, count - 1);
      const bool is_there = i < count && all.logsumexp[row] != -kInfinity;
      logsumexp[i] = is_there ? all.logsumexp[row] : kInfinity;
      di[i] = is_there ? all.di[row] : 0;
    }
  }
};

// Panels that lie side by side in a tile: so many that sums over their rows, of dk and dv, are
// worth loading and storing.
constexpr int kPanels = 2;

// Weights, and the gradients of the uncapped logits, of one tile: [count][kPanels][width].
class Gradients {
 public:
  Gradients(float soft_cap, Scratch& scratch)
      : soft_cap_(soft_cap),
        weights_(scratch.Take(kTile * Row())),
        d_logits_(scratch.Take(kTile * Row())) {}
  static int64_t ScratchSize() { return 2 * kTile * Row(); }
  static int64_t Row() { return kPanels * PanelWidth(); }

  // Those of a panel, in rows [first, first + count); `k`, `v`: from that position on.
  void Compute(const BackwardPanel& panel, int index, const TileMask& mask, bool masked,
               const Floats& k, const Floats& v, int64_t dim, int64_t dim_v, int64_t first,
               int64_t count) {
    float* const weights = weights_ + first * Row() + index * PanelWidth();
    float* const d_logits = d_logits_ + first * Row() + index * PanelWidth();
    Product<1, kPanels>(k.data, k.row, k.dim, count, panel.q, dim, weights, Overwrite());
    if (soft_cap_ != 0) Cap(soft_cap_, count, weights, Row());
    if (masked) mask.Hide(panel.rows, count, weights, Row());
    Product<1, kPanels>(v.data, v.row, v.dim, count, panel.d_out, dim_v, d_logits, Overwrite());
    const F32 d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const V32 one = hn::Set(d, 1.0f), inverse_cap = hn::Set(d, soft_cap_ == 0 ? 0 : 1 / soft_cap_);
    for (int i = 0; i < kVectors; ++i) {
      const V32 logsumexp = hn::Load(d, panel.logsumexp + i * lanes);
      const V32 di = hn::Load(d, panel.di + i * lanes);
      for (int64_t at = i * lanes; at < count * Row(); at += Row()) {
        const V32 logit = hn::Load(d, weights + at);
        // What is hidden has no weight, even where logsumexp is NaN.
        const V32 weight = hn::IfThenZeroElse(hn::Eq(logit, hn::Set(d, -kInfinity)),
                                              ExpOfNegative(d, hn::Sub(logit, logsumexp)));
        V32 gradient = hn::Mul(weight, hn::Sub(hn::Load(d, d_logits + at), di));
        if (soft_cap_ != 0) {
          const V32 tanh = hn::Mul(logit, inverse_cap);
          gradient = hn::Mul(gradient, hn::NegMulAdd(tanh, tanh, one));
        }
        // What is not seen adds nothing, whatever it is.
        gradient = hn::IfThenZeroElse(hn::Eq(weight, hn::Zero(d)), gradient);
        hn::Store(weight, d, weights + at);
        hn::Store(gradient, d, d_logits + at);
      }
    }
  }

  // Makes a panel's rows [first, first + count) 0.
  void Clear(int index, int64_t first, int64_t count) {
    for (int64_t c = first; c < first + count; ++c) {
      std::fill_n(weights_ + c * Row() + index * PanelWidth(), PanelWidth(), 0.0f);
      std::fill_n(d_logits_ + c * Row() + index * PanelWidth(), PanelWidth(), 0.0f);
    }
  }

  const float* weights() const { return weights_; }
  const float* d_logits() const { return d_logits_; }

 private:
  const float soft_cap_;
  float* const weights_;
  float* const d_logits_;
};

// ---- dq

class Dq {
 public:
  Dq(const DqTask& task, Scratch scratch)
      : task_(task),
        mask_(scratch),
        gradients_(task.soft_cap, scratch),
        k_tile_(scratch.Take(kTile * task.dim)),
        v_tile_(scratch.Take(kTile * task.dim_v)),
        dq_(scratch.Take(panel_count() * task.dim * width_)),
        panels_(scratch.Take(panel_count() * BackwardPanel::Size(task.dim, task.dim_v))) {}

  static int64_t ScratchSize(int64_t rows, int64_t dim, int64_t dim_v) {
    const int64_t width = PanelWidth(), panels = (rows + width - 1) / width;
    return 2 * kTile + Gradients::ScratchSize() + kTile * (dim + dim_v) + panels * dim * width +
           panels * BackwardPanel::Size(dim, dim_v) + 7 * 16;
  }

  void Run() {
    for (int64_t i = 0; i < panel_count(); ++i) {
      PanelAt(i).Load(task_.rows, task_.dim, task_.dim_v);
      PanelAt(i).rows.Fill(task_.rows.mask);
    }
    std::fill_n(dq_, panel_count() * task_.dim * width_, 0.0f);
    struct Only {
      VisitQueue visits;
    } only{task_.visits};
    ForEachTile(std::span(&only, 1),
                [&](const Tile& tile) { RunTile(tile, *tile.VisitOf(only.visits)); });
    for (int64_t row = 0; row < task_.rows.count; ++row) {
      const float* const dq = dq_ + row / width_ * task_.dim * width_ + row % width_;
      for (int64_t d = 0; d < task_.dim; ++d) SetAt(task_.dq, row, d, dq[d * width_]);
    }
  }

 private:
  int64_t panel_count() const { return (task_.rows.count + width_ - 1) / width_; }
  BackwardPanel PanelAt(int64_t index) const {
    return {panels_ + index * BackwardPanel::Size(task_.dim, task_.dim_v), task_.dim, task_.dim_v,
            index * width_, std::min(width_, task_.rows.count - index * width_)};
  }

  void RunTile(const Tile& tile, const Visit& visit) {
    Floats all_k, all_v;
    int finite = -1;  // Whether all of k in the tile is finite; -1: nobody asked.
    for (int64_t i = 0; i < panel_count(); ++i) {
      const BackwardPanel panel = PanelAt(i);
      const TileMask::Seen seen =
          mask_.Look(panel.rows, task_.rows.mask, visit, tile.kv, tile.count);
      if (seen.count == 0) continue;
      if (all_k.data == nullptr) {
        all_k = Widen(task_.k, tile.kv, tile.count, task_.dim, k_tile_);
        all_v = Widen(task_.v, tile.kv, tile.count, task_.dim_v, v_tile_);
      }
      const Floats k = From(all_k, seen.begin), v = From(all_v, seen.begin);
      PrefetchNext(task_.k, tile, task_.dim, i, panel_count());
      PrefetchNext(task_.v, tile, task_.dim_v, i, panel_count());
      gradients_.Compute(panel, 0, mask_, !seen.all, k, v, task_.dim, task_.dim_v, 0, seen.count);
      if (!seen.all && finite < 0) finite = AllFinite(all_k, tile.count, task_.dim);
      float* const dq = dq_ + i * task_.dim * width_;
      const float* const d_logits = gradients_.d_logits();
      if (seen.all || finite != 0) {
        Product<kPanels>(k.data, k.dim, k.row, task_.dim, d_logits, seen.count, dq, AddTo());
      } else {
        ProductOfSeen<kPanels>(k.data, k.dim, k.row, task_.dim, d_logits, seen.count, dq, AddTo());
      }
    }
  }

  const int64_t width_ = PanelWidth();
  const DqTask& task_;
  TileMask mask_;
  Gradients gradients_;
  float *const k_tile_, *const v_tile_;  // Widened: [kTile][dim], [kTile][dim_v].
  float* const dq_;                      // [panel][dim][width], transposed.
  float* const panels_;
};

// ---- dk and dv, and what the positions add to dq

class Dkv {
 public:
  Dkv(const DkvTask& task, Scratch scratch)
      : task_(task),
        gradients_(task.soft_cap, scratch),
        cells_(scratch.Take(kPanels * kCells)),
        k_(scratch.Take(task.kv_count * task.dim)),
        v_(scratch.Take(task.kv_count * task.dim_v)),
        dk_(scratch.Take(Padded(task.dim) * task.kv_count)),
        dv_(scratch.Take(Padded(task.dim_v) * task.kv_count)),
        dq_(scratch.Take(kPanels * task.dim * width_)),
        q_rows_(scratch.Take(Padded(task.dim) * kPanels * width_)),
        d_out_rows_(scratch.Take(Padded(task.dim_v) * kPanels * width_)),
        panels_(scratch.Take(kPanels * BackwardPanel::Size(task.dim, task.dim_v))) {}

  static int64_t ScratchSize(int64_t kv_count, int64_t dim, int64_t dim_v) {
    const int64_t padded = Padded(dim) + Padded(dim_v);
    return Gradients::ScratchSize() + kPanels * kCells + kv_count * (dim + dim_v) +
           padded * kv_count +
           kPanels * ((dim + padded) * PanelWidth() + BackwardPanel::Size(dim, dim_v)) + 11 * 16;
  }

  void Run() {
    std::fill_n(dk_, Padded(task_.dim) * task_.kv_count, 0.0f);
    std::fill_n(dv_, Padded(task_.dim_v) * task_.kv_count, 0.0f);
    const Floats k = Widen(task_.k, task_.kv_begin, task_.kv_count, task_.dim, k_);
    const Floats v = Widen(task_.v, task_.kv_begin, task_.kv_count, task_.dim_v, v_);
    for (const QVisit& visit : task_.visits) {
      for (int64_t first = 0; first < visit.rows.count; first += kPanels * width_) {
        RunPanels(visit, first, k, v);
      }
      if (visit.dq.sums != nullptr) EndTurn(visit.dq);
    }
    Finish(dk_, task_.dim, task_.dk);
    Finish(dv_, task_.dim_v, task_.dv);
  }

 private:
  static constexpr int64_t kCells = TileMask::ScratchSize();

  // The head's dimension in whole panels, side by side.
  static int64_t Padded(int64_t dim) {
    return (dim + PanelWidth() - 1) / PanelWidth() * PanelWidth();
  }

  // The panels whose rows are [first, first + kPanels * width) of a visit.
  void RunPanels(const QVisit& visit, int64_t first, const Floats& k, const Floats& v) {
    const int64_t rows = std::min(kPanels * width_, visit.rows.count - first);
    const int panels = static_cast<int>((rows + width_ - 1) / width_);
    Scratch cells(cells_);
    TileMask masks[kPanels] = {TileMask(cells), TileMask(cells)};
    for (int i = 0; i < panels; ++i) PanelAt(first, rows, i).rows.Fill(visit.rows.mask);
    bool is_loaded = false;
    int finite = -1;  // Whether q and d_out of the panels are; -1: nobody asked.
    for (int64_t begin = 0; begin < task_.kv_count; begin += kTile) {
      const int64_t kv = task_.kv_begin + begin, count = std::min(kTile, task_.kv_count - begin);
      TileMask::Seen seen[kPanels];
      int64_t seen_begin = count, seen_end = 0;  // By any panel.
      for (int i = 0; i < panels; ++i) {
        seen[i] =
            masks[i].Look(PanelAt(first, rows, i).rows, visit.rows.mask, visit.visit, kv, count);
        if (seen[i].count == 0) continue;
        seen_begin = std::min(seen_begin, seen[i].begin);
        seen_end = std::max(seen_end, seen[i].begin + seen[i].count);
      }
      if (seen_begin >= seen_end) continue;
      if (!is_loaded) {
        Load(visit.rows, first, rows, panels);
        is_loaded = true;
      }
      bool all = true;  // Whether every row sees everything of what any sees.
      for (int i = 0; i < panels; ++i) {
        const auto [own_begin, own_count, own_all] = seen[i];
        const int64_t own_end = own_begin + own_count;
        if (own_count == 0) {
          gradients_.Clear(i, seen_begin, seen_end - seen_begin);
          all = false;
          continue;
        }
        all &= own_all && own_begin == seen_begin && own_end == seen_end;
        gradients_.Clear(i, seen_begin, own_begin - seen_begin);
        gradients_.Clear(i, own_end, seen_end - own_end);
        const Floats k_seen = From(k, begin + own_begin), v_seen = From(v, begin + own_begin);
        gradients_.Compute(PanelAt(first, rows, i), i, masks[i], !own_all, k_seen, v_seen,
                           task_.dim, task_.dim_v, own_begin, own_count);
        if (visit.dq.sums != nullptr) AddDq(i, k_seen, own_begin, own_count, own_all);
      }
      if (!all && finite < 0) finite = AreFinite(first, rows, panels);
      const int64_t seen_count = seen_end - seen_begin, at = (begin + seen_begin) * width_;
      const bool add_all = all || finite != 0;
      Accumulate(gradients_.weights() + seen_begin * Gradients::Row(), seen_count, d_out_rows_,
                 rows, task_.dim_v, add_all, dv_ + at);
      Accumulate(gradients_.d_logits() + seen_begin * Gradients::Row(), seen_count, q_rows_, rows,
                 task_.dim, add_all, dk_ + at);
    }
    if (visit.dq.sums == nullptr) return;
    for (int i = 0; i < panels; ++i) {
      AddToSums(visit.dq, PanelAt(first, rows, i).rows, dq_ + i * task_.dim * width_, is_loaded);
    }
  }

  // One of the panels of rows [first, first + rows).
  BackwardPanel PanelAt(int64_t first, int64_t rows, int index) const {
    return {panels_ + index * BackwardPanel::Size(task_.dim, task_.dim_v), task_.dim, task_.dim_v,
            first + index * width_, std::min(width_, rows - index * width_)};
  }

  void Load(const QRows& of, int64_t first, int64_t rows, int panels) const {
    for (int i = 0; i < panels; ++i) PanelAt(first, rows, i).Load(of, task_.dim, task_.dim_v);
    CopyRows(of.q, first, rows, task_.dim, q_rows_);
    CopyRows(of.d_out, first, rows, task_.dim_v, d_out_rows_);
    std::fill_n(dq_, kPanels * task_.dim * width_, 0.0f);
  }

  // Rows as they are, [dim / width][kPanels * width][width]; 0 beyond the dimension.
  void CopyRows(const Rows& from, int64_t first, int64_t rows, int64_t dim, float* out) const {
    for (int64_t begin = 0; begin < dim; begin += width_) {
      const int64_t there = std::min(width_, dim - begin);
      for (int64_t i = 0; i < rows; ++i) {
        float* const row = out + (begin * kPanels + i) * width_;
        std::fill(row + there, row + width_, 0.0f);
        if (from.type == FloatType::kFloat32 && from.dim == 1) {
          std::copy_n(static_cast<const float*>(from.data) + (first + i) * from.row + begin, there,
                      row);
        } else {
          for (int64_t d = 0; d < there; ++d) row[d] = At(from, first + i, begin + d);
        }
      }
    }
  }

  bool AreFinite(int64_t first, int64_t rows, int panels) const {
    for (int i = 0; i < panels; ++i) {
      const BackwardPanel panel = PanelAt(first, rows, i);
      if (!AllFinite({panel.q, width_, 1}, task_.dim, width_) ||
          !AllFinite({panel.d_out, width_, 1}, task_.dim_v, width_)) {
        return false;
      }
    }
    return true;
  }

  // `k`: from position `first` of the tile on.
  void AddDq(int panel, const Floats& k, int64_t first, int64_t count, bool seen_by_all) const {
    const float* const d_logits = gradients_.d_logits() + first * Gradients::Row() + panel * width_;
    float* const dq = dq_ + panel * task_.dim * width_;
    if (seen_by_all || AllFinite(k, count, task_.dim)) {
      Product<kPanels>(k.data, k.dim, k.row, task_.dim, d_logits, count, dq, AddTo());
    } else {
      ProductOfSeen<kPanels>(k.data, k.dim, k.row, task_.dim, d_logits, count, dq, AddTo());
    }
  }

  // Adds [dim][width], 0 if the panel saw nothing, once the visits before have added theirs.
  void AddToSums(const DqSums& dq, const PanelRows& rows, const float* own, bool has_seen) const {
    AwaitTurn(dq);
    const int64_t count = rows.lanes.rows;
    float* const sums = dq.sums + rows.lanes.first_row * task_.dim;
    const bool is_first = dq.number == 0;
    if (!has_seen) {
      if (is_first) std::fill_n(sums, count * task_.dim, 0.0f);
      return;
    }
    const F32 f;
    const auto lanes = static_cast<int64_t>(hn::Lanes(f));
    for (int64_t d = 0; d < task_.dim; ++d) {
      const float* const from = own + d * width_;
      float* const to = sums + d * count;
      int64_t i = 0;
      for (; i + lanes <= count; i += lanes) {
        const V32 mine = hn::Load(f, from + i);
        hn::StoreU(is_first ? mine : hn::Add(mine, hn::LoadU(f, to + i)), f, to + i);
      }
      for (; i < count; ++i) to[i] = is_first ? from[i] : from[i] + to[i];
    }
  }

  void AwaitTurn(const DqSums& dq) const {
    for (int spins = 0; dq.turn->load(std::memory_order_acquire) != dq.number; ++spins) {
      if (task_.is_abandoned->load(std::memory_order_relaxed)) return;
      if (spins < 1000) {
        hwy::Pause();
      } else {
        std::this_thread::yield();
      }
    }
  }

  void EndTurn(const DqSums& dq) const {
    AwaitTurn(dq);
    dq.turn->store(dq.number + 1, std::memory_order_release);
  }

  // out[position][:] += sum over rows of factors[position][row] * rows[row][:].
  void Accumulate(const float* factors, int64_t count, const float* rows, int64_t row_count,
                  int64_t dim, bool add_all, float* out) const {
    for (int64_t d = 0; d < dim; d += width_) {
      float* const at = out + d * task_.kv_count;
      const float* const parts = rows + d * kPanels * width_;
      if (add_all) {
        Product(factors, Gradients::Row(), 1, count, parts, row_count, at, AddTo());
        continue;
      }
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t row = 0; row < row_count; ++row) {
          const float factor = factors[c * Gradients::Row() + row];
          if (factor == 0) continue;
          for (int64_t i = 0; i < width_; i += static_cast<int64_t>(hn::Lanes(F32()))) {
            const V32 row_part = hn::Load(F32(), parts + row * width_ + i);
            float* const sum = at + c * width_ + i;
            hn::Store(hn::MulAdd(hn::Set(F32(), factor), row_part, hn::Load(F32(), sum)), F32(),
                      sum);
          }
        }
      }
    }
  }

  void Finish(const float* sums, int64_t dim, const OutputRows& out) const {
    for (int64_t c = 0; c < task_.kv_count; ++c) {
      for (int64_t d = 0; d < dim; ++d) {
        SetAt(out, task_.kv_begin + c, d,
              sums[(d / width_ * task_.kv_count + c) * width_ + d % width_]);
      }
    }
  }

  const int64_t width_ = PanelWidth();
  const DkvTask& task_;
  Gradients gradients_;
  float* const cells_;
  float *const k_, *const v_;                // Widened: [kv_count][dim], [kv_count][dim_v].
  float *const dk_, *const dv_;              // [dim / width][kv_count][width]
  float* const dq_;                          // [kPanels][dim][width]
  float *const q_rows_, *const d_out_rows_;  // [dim / width][kPanels * width][width]
  float* const panels_;
};

int64_t WriteDqScratch(int64_t dim) { return dim * PanelWidth(); }

void WriteDq(const float* sums, int64_t rows, int64_t dim, const OutputRows& dq, float* scratch) {
  for (int64_t first = 0; first < rows; first += PanelWidth()) {
    const int64_t count = std::min(PanelWidth(), rows - first);
    std::fill_n(scratch, count * dim, 0.0f);
    if (sums != nullptr) std::copy_n(sums + first * dim, count * dim, scratch);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < dim; ++d) SetAt(dq, first + i, d, scratch[d * count + i]);
    }
  }
}

int64_t DqScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  return Dq::ScratchSize(rows, dim, dim_v);
}
int64_t DkvScratch(int64_t kv_count, int64_t dim, int64_t dim_v) {
  return Dkv::ScratchSize(kv_count, dim, dim_v);
}
void RunDq(const DqTask& task, float* scratch) { Dq(task, Scratch(scratch)).Run(); }
void RunDkv(const DkvTask& task, float* scratch) { Dkv(task, Scratch(scratch)).Run(); }

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask::fast {

HWY_EXPORT(DqScratch);
HWY_EXPORT(DkvScratch);
HWY_EXPORT(RunDq);
HWY_EXPORT(RunDkv);
HWY_EXPORT(WriteDq);
HWY_EXPORT(WriteDqScratch);

int64_t DqScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  return HWY_DYNAMIC_DISPATCH(DqScratch)(rows, dim, dim_v);
}
int64_t DkvScratch(int64_t kv_count, int64_t dim, int64_t dim_v) {
  return HWY_DYNAMIC_DISPATCH(DkvScratch)(kv_count, dim, dim_v);
}
void RunDq(const DqTask& task, float* scratch) { HWY_DYNAMIC_DISPATCH(RunDq)(task, scratch); }
void WriteDq(const float* sums, int64_t rows, int64_t dim, const OutputRows& dq, float* scratch) {
  HWY_DYNAMIC_DISPATCH(WriteDq)(sums, rows, dim, dq, scratch);
}
int64_t WriteDqScratch(int64_t dim) { return HWY_DYNAMIC_DISPATCH(WriteDqScratch)(dim); }
void RunDkv(const DkvTask& task, float* scratch) { HWY_DYNAMIC_DISPATCH(RunDkv)(task, scratch); }

}  // namespace splashmask::fast
#endif  // HWY_ONCE
