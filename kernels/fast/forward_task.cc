// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fast/forward_task.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/fast/forward_task.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "splashmask/kernels/fast/exp-inl.h"
#include "splashmask/kernels/fast/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// kv positions that are worked on at once: their weights stay in the first cache beside a panel.
constexpr int64_t kTile = 128;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Which lanes of a panel see which kv positions of a tile.
enum class Seen { kAll, kNone, kBounds, kBits };

// The state of the rows that share a panel.
struct Panel {
  int64_t first_row, rows;
  float* q;                // [dim][width], transposed; 0 beyond the rows.
  float* out;              // [dim_v][width], transposed, not yet divided by the sum.
  float *max, *sum;        // [width]
  int32_t* ids;            // [width] segment ids.
  int32_t *lower, *upper;  // [width]; beyond the rows 0 and the largest int.
  int32_t most_lower, least_upper, least_lower, most_upper;
};

class Forward {
 public:
  Forward(const ForwardTask& task, float* scratch)
      : task_(task),
        width_(PanelWidth()),
        panels_((task.rows + width_ - 1) / width_),
        scratch_(scratch) {
    logits_ = Take(kTile * width_);
    k_tile_ = Take(task.k.type == FloatType::kFloat32 ? 0 : kTile * task.dim);
    v_tile_ = Take(task.v.type == FloatType::kFloat32 ? 0 : kTile * task.dim_v);
    visible_ = reinterpret_cast<uint64_t*>(Take(2 * kTile));
    cells_ = reinterpret_cast<uint64_t*>(Take(2 * width_ * (kTile / 64)));
    first_panel_ = scratch_;
  }

  void Run() {
    for (int64_t i = 0; i < panels_; ++i) Begin(PanelAt(i));
    for (const Visit& visit : task_.visits) {
      for (int64_t begin = 0; begin < visit.kv_count; begin += kTile) {
        RunTile(visit, visit.kv_begin + begin, std::min(kTile, visit.kv_count - begin));
      }
    }
    for (int64_t i = 0; i < panels_; ++i) Finish(PanelAt(i));
  }

  static int64_t PanelFloats(int64_t dim, int64_t dim_v, int64_t width) {
    return (dim + dim_v + 5) * width + 16;
  }

 private:
  float* Take(int64_t floats) {
    float* const taken = scratch_;
    scratch_ += (floats + 15) / 16 * 16;
    return taken;
  }

  // Panels lie one after the other in the scratch memory; the bounds' extremes behind each.
  Panel PanelAt(int64_t index) const {
    float* at = first_panel_ + index * PanelFloats(task_.dim, task_.dim_v, width_);
    Panel panel{};
    panel.first_row = index * width_;
    panel.rows = std::min(width_, task_.rows - panel.first_row);
    const auto next = [&](int64_t floats) { return std::exchange(at, at + floats); };
    panel.q = next(task_.dim * width_);
    panel.out = next(task_.dim_v * width_);
    panel.max = next(width_);
    panel.sum = next(width_);
    panel.ids = reinterpret_cast<int32_t*>(next(width_));
    panel.lower = reinterpret_cast<int32_t*>(next(width_));
    panel.upper = reinterpret_cast<int32_t*>(next(width_));
    const int32_t* extremes = reinterpret_cast<const int32_t*>(at);
    panel.most_lower = extremes[0];
    panel.least_upper = extremes[1];
    panel.least_lower = extremes[2];
    panel.most_upper = extremes[3];
    return panel;
  }

  void Begin(const Panel& panel) {
    std::fill_n(panel.q, task_.dim * width_, 0.0f);
    for (int64_t i = 0; i < panel.rows; ++i) {
      for (int64_t d = 0; d < task_.dim; ++d) {
        panel.q[d * width_ + i] = At(task_.q, panel.first_row + i, d);
      }
    }
    std::fill_n(panel.out, task_.dim_v * width_, 0.0f);
    std::fill_n(panel.max, width_, task_.sink != nullptr ? *task_.sink : -kInfinity);
    std::fill_n(panel.sum, width_, task_.sink != nullptr ? 1.0f : 0.0f);
    for (int64_t i = 0; i < width_; ++i) {
      const int64_t row = panel.first_row + std::min(i, panel.rows - 1);
      if (task_.q_segment_ids != nullptr) panel.ids[i] = task_.q_segment_ids[row];
      if (task_.lower != nullptr) {
        panel.lower[i] = task_.lower[row];
        panel.upper[i] = task_.upper[row];
      }
    }
    if (task_.lower == nullptr) return;
    const auto lower = std::minmax_element(panel.lower, panel.lower + width_);
    const auto upper = std::minmax_element(panel.upper, panel.upper + width_);
    int32_t* const extremes = panel.upper + width_;
    extremes[0] = *lower.second;
    extremes[1] = *upper.first;
    extremes[2] = *lower.first;
    extremes[3] = *upper.second;
  }

  void RunTile(const Visit& visit, int64_t kv, int64_t count) {
    bool ids_alike = false;
    int32_t least_id = 0, most_id = 0;
    if (task_.kv_segment_ids != nullptr) {
      const auto ids =
          std::minmax_element(task_.kv_segment_ids + kv, task_.kv_segment_ids + kv + count);
      least_id = *ids.first;
      most_id = *ids.second;
      ids_alike = least_id == most_id;
    }
    int finite = -1;  // Whether all of v in the tile is finite; -1: nobody asked.
    Tile k{}, v{};
    for (int64_t i = 0; i < panels_; ++i) {
      const Panel panel = PanelAt(i);
      const Seen seen = SeenBy(panel, visit, kv, count);
      if (seen == Seen::kNone) continue;
      bool compare_ids = task_.kv_segment_ids != nullptr;
      if (compare_ids) {
        const auto ids = std::minmax_element(panel.ids, panel.ids + width_);
        if (*ids.second < least_id || *ids.first > most_id) continue;
        compare_ids = !(ids_alike && *ids.first == *ids.second);
      }
      if (k.data == nullptr) {
        k = Widen(task_.k, kv, count, task_.dim, k_tile_);
        v = Widen(task_.v, kv, count, task_.dim_v, v_tile_);
      }
      const bool masked = seen != Seen::kAll || compare_ids;
      if (masked && finite < 0) finite = IsFinite(v, count);
      RunPanel(panel, seen, compare_ids, kv, count, k, v, !masked || finite != 0);
    }
  }

  Seen SeenBy(const Panel& panel, const Visit& visit, int64_t kv, int64_t count) {
    if (visit.bounded) {
      if (kv >= panel.most_lower && kv + count <= panel.least_upper) return Seen::kAll;
      if (kv >= panel.most_upper || kv + count <= panel.least_lower) return Seen::kNone;
      return Seen::kBounds;
    }
    if (visit.cells == nullptr) return Seen::kAll;
    const BitRows drawn{cells_, WordsFor(count)};
    visit.cells->Draw(panel.first_row, panel.rows, kv, count, drawn);
    TransposeBits(drawn, panel.rows, count, {visible_, 1});
    const uint64_t every = panel.rows == 64 ? ~uint64_t{0} : (uint64_t{1} << panel.rows) - 1;
    uint64_t any = 0, all = every;
    for (int64_t c = 0; c < count; ++c) {
      any |= visible_[c];
      all &= visible_[c];
    }
    return any == 0 ? Seen::kNone : all == every ? Seen::kAll : Seen::kBits;
  }

  static float At(const Rows& rows, int64_t i, int64_t d) {
    const int64_t offset = i * rows.row + d * rows.dim;
    if (rows.type == FloatType::kFloat32) return static_cast<const float*>(rows.data)[offset];
    return FromBFloat16(static_cast<const uint16_t*>(rows.data)[offset]);
  }

  // Floats of a tile: those of the tensor itself, or widened into `scratch`.
  struct Tile {
    const float* data;
    int64_t row, dim;
  };
  Tile Widen(const Rows& rows, int64_t kv, int64_t count, int64_t dim, float* scratch) const {
    if (rows.type == FloatType::kFloat32) {
      return {static_cast<const float*>(rows.data) + kv * rows.row, rows.row, rows.dim};
    }
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < dim; ++d) scratch[i * dim + d] = At(rows, kv + i, d);
    }
    return {scratch, dim, 1};
  }

  bool IsFinite(const Tile& v, int64_t count) const {
    V32 sum = hn::Zero(d_);  // Of 0 * v: 0, or NaN.
    float rest = 0;
    for (int64_t i = 0; i < count; ++i) {
      int64_t d = 0;
      if (v.dim == 1) {
        for (; d + lanes_ <= task_.dim_v; d += lanes_) {
          sum = hn::MulAdd(hn::LoadU(d_, v.data + i * v.row + d), hn::Zero(d_), sum);
        }
      }
      for (; d < task_.dim_v; ++d) rest += v.data[i * v.row + d * v.dim] * 0.0f;
    }
    return rest == 0 && hn::AllTrue(d_, hn::Eq(sum, hn::Zero(d_)));
  }

  // `finite`: v may be multiplied by the weight 0 of what is not seen.
  void RunPanel(const Panel& panel, Seen seen, bool compare_ids, int64_t kv, int64_t count,
                const Tile& k, const Tile& v, bool finite) {
    Product(k.data, k.row, k.dim, count, panel.q, task_.dim, logits_, Overwrite());
    const ScaleAndAdd rescale = Softmax(panel, seen, compare_ids, kv, count);
    if (finite) {
      Product(v.data, v.dim, v.row, task_.dim_v, logits_, count, panel.out, rescale);
    } else {
      AddSeen(v, count, panel, rescale);
    }
  }

  // Logits become weights, relative to the largest logit so far.
  ScaleAndAdd Softmax(const Panel& panel, Seen seen, bool compare_ids, int64_t kv, int64_t count) {
    V32 largest[kVectors];
    for (int i = 0; i < kVectors; ++i) largest[i] = hn::Load(d_, panel.max + i * lanes_);
    if (task_.soft_cap != 0) Cap(count);
    if (seen == Seen::kBounds) HideOutside(panel, kv, count);
    if (seen == Seen::kBits) HideUnset(count);
    if (compare_ids) HideOthers(panel, kv, count);
    for (int64_t c = 0; c < count; ++c) {
      for (int i = 0; i < kVectors; ++i) {
        // A NaN may be lost here; its weight is NaN all the same.
        largest[i] = hn::Max(largest[i], hn::Load(d_, logits_ + c * width_ + i * lanes_));
      }
    }
    ScaleAndAdd rescale{};
    for (int i = 0; i < kVectors; ++i) {
      const V32 before = hn::Load(d_, panel.max + i * lanes_);
      // Lanes that have seen nothing: any finite number makes exp(-inf - it) 0.
      const V32 base = hn::IfThenZeroElse(hn::Eq(largest[i], hn::Set(d_, -kInfinity)), largest[i]);
      rescale.scale[i] = ExpOfNegative(d_, hn::Sub(before, base));
      V32 sum = hn::Zero(d_);
      for (int64_t c = 0; c < count; ++c) {
        float* const at = logits_ + c * width_ + i * lanes_;
        const V32 weight = ExpOfNegative(d_, hn::Sub(hn::Load(d_, at), base));
        hn::Store(weight, d_, at);
        sum = hn::Add(sum, weight);
      }
      float* const total = panel.sum + i * lanes_;
      hn::Store(hn::MulAdd(hn::Load(d_, total), rescale.scale[i], sum), d_, total);
      hn::Store(largest[i], d_, panel.max + i * lanes_);
    }
    return rescale;
  }

  void Cap(int64_t count) {
    const V32 cap = hn::Set(d_, task_.soft_cap), inverse = hn::Set(d_, 1 / task_.soft_cap);
    for (int64_t i = 0; i < count * width_; i += lanes_) {
      const V32 capped = hn::Tanh(d_, hn::Mul(hn::Load(d_, logits_ + i), inverse));
      hn::Store(hn::Mul(capped, cap), d_, logits_ + i);
    }
  }

  void HideOutside(const Panel& panel, int64_t kv, int64_t count) {
    for (int i = 0; i < kVectors; ++i) {
      const auto before = hn::Sub(hn::Load(di_, panel.lower + i * lanes_), hn::Set(di_, 1));
      const auto upper = hn::Load(di_, panel.upper + i * lanes_);
      for (int64_t c = 0; c < count; ++c) {
        const auto at = hn::Set(di_, static_cast<int32_t>(kv + c));
        Keep(hn::And(hn::Gt(at, before), hn::Gt(upper, at)), logits_ + c * width_ + i * lanes_);
      }
    }
  }

  void HideOthers(const Panel& panel, int64_t kv, int64_t count) {
    for (int i = 0; i < kVectors; ++i) {
      const auto ids = hn::Load(di_, panel.ids + i * lanes_);
      for (int64_t c = 0; c < count; ++c) {
        const auto id = hn::Set(di_, task_.kv_segment_ids[kv + c]);
        Keep(hn::Eq(ids, id), logits_ + c * width_ + i * lanes_);
      }
    }
  }

  void HideUnset(int64_t count) {
    for (int64_t c = 0; c < count; ++c) {
      for (int i = 0; i < kVectors; ++i) {
        const uint64_t bits = visible_[c] >> (i * lanes_);
        const auto seen = hn::LoadMaskBits(di_, reinterpret_cast<const uint8_t*>(&bits));
        Keep(seen, logits_ + c * width_ + i * lanes_);
      }
    }
  }

  template <class MaskOfInts>
  void Keep(MaskOfInts seen, float* at) {
    const V32 logits = hn::Load(d_, at);
    hn::Store(hn::IfThenElse(hn::RebindMask(d_, seen), logits, hn::Set(d_, -kInfinity)), d_, at);
  }

  // The product with v where some of it is not finite: what has no weight is not added.
  void AddSeen(const Tile& v, int64_t count, const Panel& panel, const ScaleAndAdd& rescale) {
    for (int64_t d = 0; d < task_.dim_v; ++d) {
      for (int i = 0; i < kVectors; ++i) {
        float* const out = panel.out + d * width_ + i * lanes_;
        V32 sum = rescale(out, i);
        for (int64_t c = 0; c < count; ++c) {
          const V32 weight = hn::Load(d_, logits_ + c * width_ + i * lanes_);
          const V32 value = hn::Set(d_, v.data[c * v.row + d * v.dim]);
          sum = hn::IfThenElse(hn::Eq(weight, hn::Zero(d_)), sum, hn::MulAdd(weight, value, sum));
        }
        hn::Store(sum, d_, out);
      }
    }
  }

  void Finish(const Panel& panel) {
    for (int64_t i = 0; i < panel.rows; ++i) {
      const int64_t row = panel.first_row + i;
      const float sum = panel.sum[i];
      const float inverse = sum == 0 ? 0 : 1 / sum;
      for (int64_t d = 0; d < task_.dim_v; ++d) {
        const int64_t offset = row * task_.out.row + d * task_.out.dim;
        const float value = panel.out[d * width_ + i] * inverse;
        if (task_.out.type == FloatType::kFloat32) {
          static_cast<float*>(task_.out.data)[offset] = value;
        } else {
          static_cast<uint16_t*>(task_.out.data)[offset] = ToBFloat16(value);
        }
      }
      if (task_.logsumexp != nullptr) task_.logsumexp[row] = panel.max[i] + std::log(sum);
    }
  }

  static constexpr F32 d_{};
  static constexpr hn::RebindToSigned<F32> di_{};
  const ForwardTask& task_;
  const int64_t lanes_ = static_cast<int64_t>(hn::Lanes(F32()));
  const int64_t width_;
  const int64_t panels_;
  float* scratch_;
  float* logits_;            // [kTile][width]
  float *k_tile_, *v_tile_;  // Widened: [kTile][dim], [kTile][dim_v].
  uint64_t* visible_;        // [kTile]: bit i is lane i.
  uint64_t* cells_;          // [width][kTile / 64]
  float* first_panel_;
};

int64_t ForwardScratch(int64_t rows, int64_t dim, int64_t dim_v) {
  const int64_t width = PanelWidth();
  const int64_t shared =
      kTile * (width + dim + dim_v) + 2 * kTile + 2 * width * (kTile / 64) + 5 * 16;
  return shared + (rows + width - 1) / width * Forward::PanelFloats(dim, dim_v, width);
}

void RunForward(const ForwardTask& task, float* scratch) { Forward(task, scratch).Run(); }

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
