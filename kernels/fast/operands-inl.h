// SPDX-License-Identifier: Apache-2.0
// What a forward tile multiplies: k and v as floats, or as pairs of bfloat16 numbers. Included once
// for each SIMD target.

#if defined(SPLASHMASK_KERNELS_FAST_OPERANDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_OPERANDS_INL_H_
#undef SPLASHMASK_KERNELS_FAST_OPERANDS_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_OPERANDS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "splashmask/kernels/fast/bf16_product.h"
#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// k and v of a tile as floats: the tensors' own, or widened.
class FloatOperands {
 public:
  /// kv positions that are multiplied together: a tile's are counted from a multiple of it, and up
  /// to one.
  static constexpr int64_t kTogether = 1;

  static bool Serve(const ForwardTask&) { return true; }

  static int64_t ScratchSize(int64_t dim, int64_t dim_v) { return kTile * (dim + dim_v) + 2 * 16; }

  FloatOperands(const ForwardTask& task, Scratch& scratch)
      : task_(task),
        k_scratch_(scratch.Take(kTile * task.dim)),
        v_scratch_(scratch.Take(kTile * task.dim_v)) {}

  /// Writes `count` rows of q as columns of a panel, [dim][width].
  void MakePanel(const Rows& q, int64_t first, int64_t count, float* panel) const {
    RowsToPanel(q, first, count, task_.dim, PanelWidth(), panel);
  }

  void Load(const Tile& tile) {
    count_ = tile.count;
    k_ = Widen(task_.k, tile.kv, tile.count, task_.dim, k_scratch_);
    v_ = Widen(task_.v, tile.kv, tile.count, task_.dim_v, v_scratch_);
    finite_.reset();
  }

  /// logits[c][:] = k of position begin + c times the panel, for c < count.
  void Logits(int64_t begin, int64_t count, const float* panel, float* logits) const {
    const Floats k = From(k_, begin);
    Product(k.data, k.row, k.dim, count, panel, task_.dim, logits, Overwrite());
  }

  /// out[d][:] = rescaled, plus the weights of positions [begin, begin + count) times their v. What
  /// has weight 0 is not added, whatever it is, unless all rows see all (`seen_by_all`). May leave
  /// the weights changed.
  void AddValues(int64_t begin, int64_t count, bool seen_by_all, float* weights,
                 const ScaleAndAdd& rescale, float* out) {
    const Floats v = From(v_, begin);
    if (!seen_by_all && !finite_) finite_ = AllFinite(v_, count_, task_.dim_v);
    if (seen_by_all || *finite_) {
      Product(v.data, v.dim, v.row, task_.dim_v, weights, count, out, rescale);
    } else {
      ProductOfSeen(v.data, v.dim, v.row, task_.dim_v, weights, count, out, rescale);
    }
  }

 private:
  const ForwardTask& task_;
  float *const k_scratch_, *const v_scratch_;  // [kTile][dim], [kTile][dim_v].
  Floats k_, v_;
  int64_t count_ = 0;
  std::optional<bool> finite_;  // Whether all of v is; nullopt: nobody asked.
};

#if HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
/// k and v of a tile in pairs of bfloat16 numbers, and products in AVX-512-BF16: of k along dim, of
/// v two positions at a time. Weights are rounded to bfloat16.
class PairOperands {
 public:
  static constexpr int64_t kTogether = 2;

  static bool Serve(const ForwardTask& task) {
    return task.groups.front().q.type == FloatType::kBFloat16 &&
           task.k.type == FloatType::kBFloat16 && task.v.type == FloatType::kBFloat16 &&
           HasBf16Products();
  }

  static int64_t ScratchSize(int64_t dim, int64_t dim_v) {
    return kTile * Pairs(dim) + kTile / 2 * dim_v + kLanes + 2 * 16;
  }

  PairOperands(const ForwardTask& task, Scratch& scratch)
      : task_(task),
        k_scratch_(reinterpret_cast<uint32_t*>(scratch.Take(kTile * Pairs(task.dim)))),
        v_pairs_(reinterpret_cast<uint32_t*>(scratch.Take(kTile / 2 * task.dim_v + kLanes))) {}

  /// Writes `count` rows of q as columns of a panel of pairs, [(dim + 1) / 2][width].
  void MakePanel(const Rows& q, int64_t first, int64_t count, float* panel) const {
    const int64_t width = PanelWidth();
    auto* const pairs = reinterpret_cast<uint32_t*>(panel);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t p = 0; p < Pairs(task_.dim); ++p) {
        pairs[p * width + i] = PairAt(q, first + i, p, task_.dim);
      }
    }
  }

  void Load(const Tile& tile) {
    tile_ = tile;
    LoadK();
    LoadV();
    std::fill_n(v_pairs_ + (tile.count + 1) / 2 * task_.dim_v, kLanes, 0);
    finite_ = TakeOutWhatIsNotFinite();
  }

  void Logits(int64_t begin, int64_t count, const float* panel, float* logits) const {
    Bf16Product(k_ + begin * k_row_, k_row_, 2, count, reinterpret_cast<const uint32_t*>(panel),
                Pairs(task_.dim), nullptr, logits);
  }

  void AddValues(int64_t begin, int64_t count, bool /*seen_by_all*/, float* weights,
                 const ScaleAndAdd& rescale, float* out) const {
    alignas(64) float scale[kVectors * kLanes];
    for (int i = 0; i < kVectors; ++i) hn::Store(rescale.scale[i], F32(), scale + kLanes * i);
    RoundToPairs(weights, count);
    const auto* const pairs = reinterpret_cast<const uint32_t*>(weights);
    Bf16Product(reinterpret_cast<const uint16_t*>(v_pairs_ + begin / 2 * task_.dim_v), 2,
                2 * task_.dim_v, task_.dim_v, pairs, count / 2, scale, out);
    if (!finite_) AddWhatIsNotFinite(begin, std::min(count, tile_.count - begin), pairs, out);
  }

 private:
  static constexpr int64_t kLanes = 16;
  static constexpr uint16_t kExponent = 0x7F80;  // All ones: NaN or infinite.
  static bool IsFinite(uint16_t bits) { return (bits & kExponent) != kExponent; }

  static int64_t Pairs(int64_t dim) { return (dim + 1) / 2; }

  static const uint16_t* Row(const Rows& rows, int64_t i) {
    return static_cast<const uint16_t*>(rows.data) + i * rows.row;
  }

  static uint32_t PairAt(const Rows& rows, int64_t i, int64_t pair, int64_t dim) {
    const uint16_t* const first = Row(rows, i) + 2 * pair * rows.dim;
    return *first | (2 * pair + 1 < dim ? static_cast<uint32_t>(first[rows.dim]) << 16 : 0);
  }

  // The tensor's own rows are pairs already where they are contiguous and their length is even.
  void LoadK() {
    if (task_.k.dim == 1 && task_.dim % 2 == 0) {
      k_ = Row(task_.k, tile_.kv);
      k_row_ = task_.k.row;
      return;
    }
    const int64_t pairs = Pairs(task_.dim);
    for (int64_t i = 0; i < tile_.count; ++i) {
      for (int64_t p = 0; p < pairs; ++p) {
        k_scratch_[i * pairs + p] = PairAt(task_.k, tile_.kv + i, p, task_.dim);
      }
    }
    k_ = reinterpret_cast<const uint16_t*>(k_scratch_);
    k_row_ = 2 * pairs;
  }

  // A last position without a partner is paired with zeros.
  void LoadV() {
    const Rows& v = task_.v;
    for (int64_t i = 0; i < tile_.count; i += 2) {
      uint32_t* const pairs = v_pairs_ + i / 2 * task_.dim_v;
      const uint16_t* const first = Row(v, tile_.kv + i);
      const uint16_t* const second = i + 1 < tile_.count ? first + v.row : nullptr;
      if (v.dim == 1 && second != nullptr) {
        PairRows(first, second, task_.dim_v, pairs);
        continue;
      }
      for (int64_t d = 0; d < task_.dim_v; ++d) {
        pairs[d] = first[d * v.dim] |
                   (second != nullptr ? static_cast<uint32_t>(second[d * v.dim]) << 16 : 0);
      }
    }
  }

  // Makes NaN and infinities of v zeros, which change nothing, and returns whether there were none.
  bool TakeOutWhatIsNotFinite() {
    const int64_t size = (tile_.count + 1) / 2 * task_.dim_v;
    const hn::RebindToUnsigned<F32> d;
    const auto low = hn::Set(d, kExponent), high = hn::Set(d, uint32_t{kExponent} << 16);
    auto found = hn::FirstN(d, 0);
    for (int64_t i = 0; i < size; i += kLanes) {
      const auto pairs = hn::Load(d, v_pairs_ + i);  // Zeros beyond the last.
      found = hn::Or(found,
                     hn::Or(hn::Eq(hn::And(pairs, low), low), hn::Eq(hn::And(pairs, high), high)));
    }
    if (hn::AllFalse(d, found)) return true;
    for (int64_t i = 0; i < size; ++i) {
      if (!IsFinite(static_cast<uint16_t>(v_pairs_[i]))) v_pairs_[i] &= 0xFFFF0000u;
      if (!IsFinite(static_cast<uint16_t>(v_pairs_[i] >> 16))) v_pairs_[i] &= 0xFFFFu;
    }
    return false;
  }

  // To the rows that give them weight, and no other.
  void AddWhatIsNotFinite(int64_t begin, int64_t count, const uint32_t* weights, float* out) const {
    const int64_t width = PanelWidth();
    for (int64_t c = 0; c < count; ++c) {
      for (int64_t d = 0; d < task_.dim_v; ++d) {
        const uint16_t bits = Row(task_.v, tile_.kv + begin + c)[d * task_.v.dim];
        if (IsFinite(bits)) continue;
        for (int64_t lane = 0; lane < width; ++lane) {
          const uint32_t pair = weights[c / 2 * width + lane];
          const float weight = FromBFloat16(static_cast<uint16_t>(c % 2 == 0 ? pair : pair >> 16));
          if (weight != 0) out[d * width + lane] += weight * FromBFloat16(bits);
        }
      }
    }
  }

  const ForwardTask& task_;
  uint32_t* const k_scratch_;  // [kTile][pairs of dim].
  uint32_t* const v_pairs_;    // [kTile / 2][dim_v].
  const uint16_t* k_ = nullptr;
  int64_t k_row_ = 0;
  Tile tile_{};
  bool finite_ = true;  // Whether all of v in the tile is.
};
#else
using PairOperands = FloatOperands;
#endif

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
