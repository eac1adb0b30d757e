// SPDX-License-Identifier: Apache-2.0
// A tile: some kv positions seen from the rows that share a panel. Included once for each SIMD
// target.

#if defined(SPLASHMASK_KERNELS_FAST_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_TILE_INL_H_
#undef SPLASHMASK_KERNELS_FAST_TILE_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_TILE_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/task.h"
#include "splashmask/kernels/fast/tile_walk.h"
#include "splashmask/kernels/fast/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Gives out pieces of a task's scratch memory, aligned to 64 bytes; without memory, it counts what
/// would be taken.
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(float* memory) : memory_(memory) {}

  float* Take(int64_t floats) {
    float* const taken = memory_ == nullptr ? nullptr : memory_ + taken_;
    taken_ += (floats + 15) / 16 * 16;
    return taken;
  }
  int64_t taken() const { return taken_; }

 private:
  float* memory_ = nullptr;
  int64_t taken_ = 0;
};

/// A task's kernel, computed; and the floats of scratch memory that it takes.
template <class Kernel, class Task>
void RunKernel(const Task& task, float* memory) {
  Scratch scratch(memory);
  Kernel(task, scratch).Run();
}
template <class Kernel, class Task>
int64_t CountScratch(const Task& task) {
  Scratch counting;
  Kernel(task, counting);
  return counting.taken();
}

/// Floats of some rows: the tensor's own, or widened into scratch memory.
struct Floats {
  const float* data = nullptr;
  int64_t row = 0, dim = 1;
};

/// From the i-th row on.
HWY_INLINE Floats From(const Floats& floats, int64_t i) {
  return {floats.data + i * floats.row, floats.row, floats.dim};
}

/// `scratch` has room for count * dim floats unless the rows are float32.
HWY_INLINE Floats Widen(const Rows& rows, int64_t first, int64_t count, int64_t dim,
                        float* scratch) {
  if (rows.type == FloatType::kFloat32) {
    return {static_cast<const float*>(rows.data) + first * rows.row, rows.row, rows.dim};
  }
  for (int64_t i = 0; i < count; ++i) {
    int64_t d = 0;
    for (; rows.dim == 1 && d + kSquare <= dim; d += kSquare) {
      hn::StoreU(LoadFour(rows, first + i, d), F32x4(), scratch + i * dim + d);
    }
    for (; d < dim; ++d) scratch[i * dim + d] = At(rows, first + i, d);
  }
  return {scratch, dim, 1};
}

/// The rows of another head.
template <typename Data>
HWY_INLINE BasicRows<Data> OfHead(const BasicRows<Data>& rows, int64_t to_next, int64_t head) {
  using Bytes = std::conditional_t<std::is_const_v<Data>, const std::byte, std::byte>;
  return {static_cast<Bytes*>(rows.data) + head * to_next * FloatSize(rows.type), rows.type,
          rows.row, rows.dim};
}

/// Fetches rows [first, first + count) into the second cache; `write`: they will be written.
template <bool write = false, typename Data>
HWY_INLINE void Prefetch(const BasicRows<Data>& rows, int64_t first, int64_t count, int64_t dim) {
  if (rows.dim != 1) return;
  const int64_t size = FloatSize(rows.type);
  for (int64_t i = first; i < first + count; ++i) {
    const auto* const row = static_cast<const std::byte*>(rows.data) + i * rows.row * size;
    for (int64_t at = 0; at < dim * size; at += 64) {
      __builtin_prefetch(row + at, write, 2);
    }
  }
}

/// Fetches part `part` of `parts` of the next tile's rows: from beyond the second cache a tile
/// comes slower than the first panel needs it.
HWY_INLINE void PrefetchNext(const Rows& rows, const Tile& tile, int64_t dim, int64_t part,
                             int64_t parts) {
  const int64_t begin = tile.next_count * part / parts;
  Prefetch(rows, tile.next_kv + begin, tile.next_count * (part + 1) / parts - begin, dim);
}

/// Whether there is neither NaN nor an infinity among them.
HWY_INLINE bool AllFinite(const Floats& floats, int64_t count, int64_t dim) {
  const F32 f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  V32 sum = hn::Zero(f), next = hn::Zero(f);  // Of 0 * x: 0, or NaN. Each waits for itself alone.
  float rest = 0;
  const auto add = [&](int64_t i, int64_t d, V32& so_far) HWY_ATTR {
    so_far = hn::MulAdd(hn::LoadU(f, floats.data + i * floats.row + d), hn::Zero(f), so_far);
  };
  for (int64_t i = 0; i < count; ++i) {
    int64_t d = 0;
    if (floats.dim == 1) {
      for (; d + 2 * lanes <= dim; d += 2 * lanes) {
        add(i, d, sum);
        add(i, d + lanes, next);
      }
      for (; d + lanes <= dim; d += lanes) add(i, d, sum);
    }
    for (; d < dim; ++d) rest += floats.data[i * floats.row + d * floats.dim] * 0.0f;
  }
  return rest == 0 && hn::AllTrue(f, hn::Eq(hn::Add(sum, next), hn::Zero(f)));
}

/// Which rows share a panel: the same of several heads, or of one. Lane h * rows + r is row
/// first_row + r of head first_head + h.
struct PanelLanes {
  int64_t first_head = 0, heads = 1, first_row = 0, rows = 0;
  int64_t count() const { return heads * rows; }
};

/// What the rows of a panel see: [width] each.
struct PanelRows {
  PanelLanes lanes;
  int32_t* ids = nullptr;
  int32_t *lower = nullptr, *upper = nullptr;
  struct Extremes {
    int32_t most_lower, least_upper, least_lower, most_upper;
    int32_t least_id, most_id;
  };
  Extremes* extremes = nullptr;

  /// Floats of scratch memory for a panel.
  static int64_t Size() { return 3 * PanelWidth() + 16; }

  PanelRows() = default;
  PanelRows(float* memory, const PanelLanes& panel_lanes) : lanes(panel_lanes) {
    auto* const words = reinterpret_cast<int32_t*>(memory);
    ids = words;
    lower = words + PanelWidth();
    upper = words + 2 * PanelWidth();
    extremes = reinterpret_cast<Extremes*>(words + 3 * PanelWidth());
  }

  /// Copies what belongs to the rows; the last one stands for those beyond it.
  void Fill(const MaskOfTask& mask) const {
    const int64_t width = PanelWidth();
    for (int64_t i = 0; i < width; ++i) {
      const int64_t row = lanes.first_row + std::min(i, lanes.count() - 1) % lanes.rows;
      if (mask.q_segment_ids != nullptr) ids[i] = mask.q_segment_ids[row];
      if (mask.lower != nullptr) {
        lower[i] = mask.lower[row];
        upper[i] = mask.upper[row];
      }
    }
    if (mask.q_segment_ids != nullptr) {
      const auto range = std::minmax_element(ids, ids + width);
      extremes->least_id = *range.first;
      extremes->most_id = *range.second;
    }
    if (mask.lower == nullptr) return;
    const auto lowest = std::minmax_element(lower, lower + width);
    const auto highest = std::minmax_element(upper, upper + width);
    extremes->most_lower = *lowest.second;
    extremes->least_lower = *lowest.first;
    extremes->least_upper = *highest.first;
    extremes->most_upper = *highest.second;
  }
};

/// Hides what the rows of a panel do not see of a tile.
class TileMask {
 public:
  explicit TileMask(Scratch& scratch)
      : cells_(reinterpret_cast<uint64_t*>(scratch.Take(kTile * 2))) {}

  /// What the rows see of a tile: nothing (count 0), or something of [begin, begin + count) alone,
  /// counted from the tile's first position.
  struct Seen {
    int64_t begin = 0, count = 0;
    bool all = false;  ///< Every row sees all of it.

    /// The same, and what is beside it in groups of `together` positions.
    Seen Whole(int64_t together) const {
      const int64_t first = begin / together * together;
      const int64_t end = (begin + count + together - 1) / together * together;
      return {first, end - first, all && end - first == count};
    }
  };

  /// Looks at a tile of a visit; Hide speaks of the tile looked at last.
  Seen Look(const PanelRows& rows, const MaskOfTask& mask, const Visit& visit, int64_t kv,
            int64_t count) {
    bounds_ = bits_ = compare_ids_ = false;
    Seen seen{0, count, false};
    const PanelRows::Extremes& e = *rows.extremes;
    if (visit.bounded) {
      const int64_t end = std::min<int64_t>(kv + count, e.most_upper);
      kv_ = std::max<int64_t>(kv, e.least_lower);
      if (kv_ >= end) return {};
      seen = {kv_ - kv, end - kv_, false};
      bounds_ = kv_ < e.most_lower || end > e.least_upper;
    } else if (visit.cells.cells != nullptr) {
      const PanelLanes& lanes = rows.lanes;
      const Drawn drawn =
          visit.cells.Draw(lanes.first_row, lanes.rows, kv - visit.kv_begin, count, cells_);
      if (drawn == Drawn::kNone) return {};
      if (drawn == Drawn::kSome) bits_ = Clip(lanes, &seen);
    }
    kv_ = kv + seen.begin;
    first_cell_ = cells_ + seen.begin;
    if (mask.kv_segment_ids != nullptr) {
      kv_segment_ids_ = mask.kv_segment_ids;
      const int32_t* const begin = kv_segment_ids_ + kv_;
      const auto ids = std::minmax_element(begin, begin + seen.count);
      if (e.most_id < *ids.first || e.least_id > *ids.second) return {};
      compare_ids_ =
          e.least_id != e.most_id || *ids.first != *ids.second || e.most_id != *ids.first;
    }
    seen.all = !bounds_ && !bits_ && !compare_ids_;
    return seen;
  }

  /// Makes the logits of what is not seen -inf: [count][width], rows `row` apart, of the positions
  /// that Look named.
  void Hide(const PanelRows& rows, int64_t count, float* logits, int64_t row) const {
    for (int i = 0; i < kVectors; ++i) {
      float* const at = logits + i * lanes_;
      if (bounds_) {
        const auto before = hn::Sub(hn::Load(di_, rows.lower + i * lanes_), hn::Set(di_, 1));
        const auto upper = hn::Load(di_, rows.upper + i * lanes_);
        ForEach(count, at, row, [&](int64_t c) HWY_ATTR {
          const auto position = hn::Set(di_, static_cast<int32_t>(kv_ + c));
          return hn::And(hn::Gt(position, before), hn::Gt(upper, position));
        });
      }
      if (bits_) {
        ForEach(count, at, row, [&](int64_t c) HWY_ATTR {
          const uint64_t bits = first_cell_[c] >> (i * lanes_);
          return hn::LoadMaskBits(di_, reinterpret_cast<const uint8_t*>(&bits));
        });
      }
      if (compare_ids_) {
        const auto ids = hn::Load(di_, rows.ids + i * lanes_);
        ForEach(count, at, row, [&](int64_t c) HWY_ATTR {
          return hn::Eq(ids, hn::Set(di_, kv_segment_ids_[kv_ + c]));
        });
      }
    }
  }

 private:
  // Leaves out positions at either end that nobody sees; whether anything is hidden of the others.
  bool Clip(const PanelLanes& lanes, Seen* seen) const {
    for (int64_t c = 0; lanes.heads > 1 && c < seen->count;
         ++c) {  // All heads have the same cells.
      const uint64_t of_one = cells_[c];
      for (int64_t h = 1; h < lanes.heads; ++h) cells_[c] |= of_one << (h * lanes.rows);
    }
    const uint64_t every = lanes.count() == 64 ? ~uint64_t{0} : (uint64_t{1} << lanes.count()) - 1;
    while (cells_[seen->count - 1] == 0) --seen->count;
    while (cells_[seen->begin] == 0) ++seen->begin;
    seen->count -= seen->begin;
    uint64_t all = every;
    for (int64_t c = 0; c < seen->count; ++c) all &= cells_[seen->begin + c];
    return all != every;
  }

  template <class IsSeen>
  HWY_INLINE void ForEach(int64_t count, float* at, int64_t row, const IsSeen& is_seen) const {
    for (int64_t c = 0; c < count; ++c, at += row) {
      const auto seen = hn::RebindMask(d_, is_seen(c));
      hn::Store(hn::IfThenElse(seen, hn::Load(d_, at), hn::Set(d_, -kInfinity)), d_, at);
    }
  }

  static constexpr F32 d_{};
  static constexpr hn::RebindToSigned<F32> di_{};
  const int64_t lanes_ = static_cast<int64_t>(hn::Lanes(F32()));
  uint64_t* const cells_;  // [kTile]: bit i is lane i.
  const int32_t* kv_segment_ids_ = nullptr;
  const uint64_t* first_cell_ = nullptr;  // Of the position kv_.
  int64_t kv_ = 0;
  bool bounds_ = false, bits_ = false, compare_ids_ = false;
};

/// cap * tanh(x / cap), of all of the logits: [count][width], rows `row` apart.
HWY_INLINE void Cap(float soft_cap, int64_t count, float* logits, int64_t row) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const V32 cap = hn::Set(d, soft_cap), inverse = hn::Set(d, 1 / soft_cap);
  for (int64_t c = 0; c < count; ++c, logits += row) {
    for (int i = 0; i < kVectors; ++i) {
      float* const at = logits + i * lanes;
      hn::Store(hn::Mul(hn::Tanh(d, hn::Mul(hn::Load(d, at), inverse)), cap), d, at);
    }
  }
}

/// Product's sum, rows by rows, where factors may be NaN or infinite: what meets a 0 in the panel
/// is not added.
template <int kPanelsBeside = 1, class Start>
HWY_INLINE void ProductOfSeen(const float* a, int64_t a_row, int64_t a_k, int64_t rows,
                              const float* panel, int64_t count, float* out, const Start& start) {
  const F32 d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const int64_t width = PanelWidth();
  for (int64_t row = 0; row < rows; ++row) {
    for (int i = 0; i < kVectors; ++i) {
      float* const at = out + row * width + i * lanes;
      V32 sum = start(at, i);
      for (int64_t k = 0; k < count; ++k) {
        const V32 weight = hn::Load(d, panel + k * kPanelsBeside * width + i * lanes);
        const V32 factor = hn::Set(d, a[row * a_row + k * a_k]);
        sum = hn::IfThenElse(hn::Eq(weight, hn::Zero(d)), sum, hn::MulAdd(weight, factor, sum));
      }
      hn::Store(sum, d, at);
    }
  }
}

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
