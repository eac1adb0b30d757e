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

#include <cstdint>

#include "splashmask/kernels/fast/forward_task.h"
#include "splashmask/kernels/fast/pairs-inl.h"
#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"
#include "splashmask/kernels/simd_choice.h"

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

  FloatOperands(const ForwardTask& task, Scratch& scratch)
      : task_(task),
        k_scratch_(scratch.Take(kTile * task.dim)),
        v_scratch_(scratch.Take(kTile * task.dim_v)) {}

  /// Writes `count` rows of q as columns of a panel, [dim][width].
  void MakePanel(const Rows& q, int64_t first, int64_t count, float* panel) const {
    RowsToPanel(q, first, count, task_.dim, PanelWidth(), panel);
  }

  void Load(const Tile& tile) {
    k_ = Widen(task_.k, tile.kv, tile.count, task_.dim, k_scratch_);
    v_ = Widen(task_.v, tile.kv, tile.count, task_.dim_v, v_scratch_);
    is_finite_ = AllFinite(v_, tile.count, task_.dim_v);
  }

  /// logits[c][:] = k of position begin + c times the panel, for c < count.
  void Logits(int64_t begin, int64_t count, const float* panel, float* logits) const {
    const Floats k = From(k_, begin);
    Product(k.data, k.row, k.dim, count, panel, task_.dim, logits, Overwrite());
  }

  /// out[d][:] = rescaled, plus the weights of positions [begin, begin + count) times their v. What
  /// has weight 0 is not added, whatever it is. May leave the weights changed.
  void AddValues(int64_t begin, int64_t count, float* weights, const ScaleAndAdd& rescale,
                 float* out) const {
    const Floats v = From(v_, begin);
    if (is_finite_) {
      Product(v.data, v.dim, v.row, task_.dim_v, weights, count, out, rescale);
    } else {
      ProductOfSeen(v.data, v.dim, v.row, task_.dim_v, weights, count, out, rescale);
    }
  }

 private:
  const ForwardTask& task_;
  float *const k_scratch_, *const v_scratch_;  // [kTile][dim], [kTile][dim_v].
  Floats k_, v_;
  bool is_finite_ = true;  // Whether all of v is.
};

#if SPLASHMASK_HAS_PAIRS
/// k and v of a tile in pairs of bfloat16 numbers, and products in AVX-512-BF16: of k along dim, of
/// v two positions at a time. Weights are rounded to bfloat16.
class PairOperands {
 public:
  static constexpr int64_t kTogether = 2;

  PairOperands(const ForwardTask& task, Scratch& scratch)
      : task_(task), k_(kTile, task.dim, scratch), v_(kTile, task.dim_v, task.dim_v, scratch) {}

  static bool Serve(const ForwardTask& task) {
    return task.groups.front().q.type == FloatType::kBFloat16 &&
           task.k.type == FloatType::kBFloat16 && task.v.type == FloatType::kBFloat16 &&
           MultipliesPairs();
  }

  /// Writes `count` rows of q as columns of a panel of pairs, [(dim + 1) / 2][width].
  void MakePanel(const Rows& q, int64_t first, int64_t count, float* panel) const {
    PairsToPanel(q, first, count, task_.dim, reinterpret_cast<uint32_t*>(panel));
  }

  void Load(const Tile& tile) {
    k_.Load(task_.k, tile.kv, tile.count);
    v_.Load(task_.v, tile.kv, tile.count);
  }

  void Logits(int64_t begin, int64_t count, const float* panel, float* logits) const {
    Bf16Product(k_.At(begin), k_.row(), 2, count, reinterpret_cast<const uint32_t*>(panel),
                PairCount(task_.dim), nullptr, logits, PanelWidth());
  }

  void AddValues(int64_t begin, int64_t count, float* weights, const ScaleAndAdd& rescale,
                 float* out) const {
    const int64_t width = PanelWidth();
    alignas(64) float scale[HWY_MAX_BYTES / sizeof(float) * kVectors];
    for (int i = 0; i < kVectors; ++i) {
      hn::Store(rescale.scale[i], F32(), scale + i * static_cast<int64_t>(hn::Lanes(F32())));
    }
    auto* const pairs = reinterpret_cast<uint32_t*>(weights);
    RoundToPairs(weights, width, count, pairs);
    Bf16Product(reinterpret_cast<const uint16_t*>(v_.Part(0, begin)), 2, 2 * task_.dim_v,
                task_.dim_v, pairs, count / 2, scale, out, width);
    v_.ForEachNotFinite(begin, count, [&](int64_t position, int64_t d, float value) {
      const int64_t c = position - begin;
      for (int64_t lane = 0; lane < width; ++lane) {
        const uint32_t pair = pairs[c / 2 * width + lane];
        const float weight = FromBFloat16(static_cast<uint16_t>(c % 2 == 0 ? pair : pair >> 16));
        if (weight != 0) out[d * width + lane] += weight * value;
      }
    });
  }

 private:
  const ForwardTask& task_;
  RowsOfPairs k_;
  PairedRows v_;
};
#else
using PairOperands = FloatOperands;
#endif

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
