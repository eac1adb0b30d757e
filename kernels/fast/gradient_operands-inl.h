// SPDX-License-Identifier: Apache-2.0
// What the backward pass multiplies: q, k, v and d_out as floats, or as pairs of bfloat16 numbers.
// Included once for each SIMD target.

#if defined(SPLASHMASK_KERNELS_FAST_GRADIENT_OPERANDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_GRADIENT_OPERANDS_INL_H_
#undef SPLASHMASK_KERNELS_FAST_GRADIENT_OPERANDS_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_GRADIENT_OPERANDS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "splashmask/kernels/fast/gradient_rows.h"
#include "splashmask/kernels/fast/pairs-inl.h"
#include "splashmask/kernels/fast/product-inl.h"
#include "splashmask/kernels/fast/tile-inl.h"
#include "splashmask/kernels/simd_choice.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Panels that lie side by side in a tile's weights: so many that sums over their rows, of dk and
/// dv, are worth loading and storing.
constexpr int kPanels = 2;

/// Floats from one position's weights to the next one's.
HWY_INLINE int64_t GradientRow() { return kPanels * PanelWidth(); }

/// A head's dimension in whole panels.
HWY_INLINE int64_t Padded(int64_t dim) {
  return (dim + PanelWidth() - 1) / PanelWidth() * PanelWidth();
}

/// How much is loaded at once.
struct GradientSizes {
  int64_t positions, panels, dim, dim_v;
  bool has_rows;  // Of kPanels panels, for dk and dv.
};

/// Sums of dk and dv: [padded dim / width][positions][width].
struct PositionSums {
  float *dk, *dv;
};

/// Everything as floats: the tensors' own, or widened.
class FloatGradientOperands {
 public:
  /// Positions that are multiplied together: what dq is given begins and ends at multiples of it.
  static constexpr int64_t kTogether = 1;

  FloatGradientOperands(const GradientSizes& sizes, Scratch& scratch)
      : sizes_(sizes),
        k_scratch_(scratch.Take(sizes.positions * sizes.dim)),
        v_scratch_(scratch.Take(sizes.positions * sizes.dim_v)),
        panels_(scratch.Take(sizes.panels * PanelSize())) {
    if (!sizes.has_rows) return;
    q_rows_ = scratch.Take(Padded(sizes.dim) * GradientRow());
    d_out_rows_ = scratch.Take(Padded(sizes.dim_v) * GradientRow());
  }

  static bool Serve(const GradientRows&, const Rows&, const Rows&) { return true; }

  void LoadPositions(const Rows& k, const Rows& v, int64_t first, int64_t count) {
    k_ = Widen(k, first, count, sizes_.dim, k_scratch_);
    v_ = Widen(v, first, count, sizes_.dim_v, v_scratch_);
    is_k_finite_ = AllFinite(k_, count, sizes_.dim);
  }

  /// Rows [first, first + count) as a panel's columns.
  void LoadPanel(int64_t panel, const GradientRows& of, int64_t first, int64_t count) const {
    const int64_t width = PanelWidth();
    float* const q = Q(panel);
    if (count < width) std::fill_n(q, PanelSize(), 0.0f);
    RowsToPanel(of.q, first, count, sizes_.dim, width, q);
    RowsToPanel(of.d_out, first, count, sizes_.dim_v, width, DOut(panel));
  }

  /// The same rows as they are, those of all panels.
  void LoadRows(const GradientRows& of, int64_t first, int64_t count) {
    CopyRows(of.q, first, count, sizes_.dim, q_rows_);
    CopyRows(of.d_out, first, count, sizes_.dim_v, d_out_rows_);
    row_count_ = count;
    are_rows_finite_ = AreFinite(q_rows_, sizes_.dim) && AreFinite(d_out_rows_, sizes_.dim_v);
  }

  /// q k^T of a panel and loaded positions [begin, begin + count), in rows GradientRow() apart.
  void Logits(int64_t panel, int64_t begin, int64_t count, float* out) const {
    const Floats k = From(k_, begin);
    Product<1, kPanels>(k.data, k.row, k.dim, count, Q(panel), sizes_.dim, out, Overwrite());
  }

  /// d_out v^T, likewise.
  void WeightGradients(int64_t panel, int64_t begin, int64_t count, float* out) const {
    const Floats v = From(v_, begin);
    Product<1, kPanels>(v.data, v.row, v.dim, count, DOut(panel), sizes_.dim_v, out, Overwrite());
  }

  /// dq[d][:] += d_logits of positions [begin, begin + count) times their k. What is 0 is not
  /// added, whatever it meets.
  void AddDq(const float* d_logits, int64_t begin, int64_t count, float* dq) const {
    const Floats k = From(k_, begin);
    if (is_k_finite_) {
      Product<kPanels>(k.data, k.dim, k.row, sizes_.dim, d_logits, count, dq, AddTo());
    } else {
      ProductOfSeen<kPanels>(k.data, k.dim, k.row, sizes_.dim, d_logits, count, dq, AddTo());
    }
  }

  /// dk and dv of positions [begin, begin + count) += d_logits and weights times the rows of q and
  /// d_out, likewise.
  void AddToPositions(const float* weights, const float* d_logits, int64_t begin, int64_t count,
                      const PositionSums& sums) const {
    Accumulate(weights, begin, count, d_out_rows_, sizes_.dim_v, sums.dv);
    Accumulate(d_logits, begin, count, q_rows_, sizes_.dim, sums.dk);
  }

 private:
  int64_t PanelSize() const { return (sizes_.dim + sizes_.dim_v) * PanelWidth(); }
  float* Q(int64_t panel) const { return panels_ + panel * PanelSize(); }
  float* DOut(int64_t panel) const { return Q(panel) + sizes_.dim * PanelWidth(); }

  bool AreFinite(const float* rows, int64_t dim) const {
    for (int64_t d = 0; d < dim; d += PanelWidth()) {
      if (!AllFinite({rows + d * GradientRow(), PanelWidth(), 1}, row_count_, PanelWidth())) {
        return false;
      }
    }
    return true;
  }

  // [dim / width][kPanels * width][width]; 0 beyond the dimension.
  static void CopyRows(const Rows& from, int64_t first, int64_t count, int64_t dim, float* out) {
    const int64_t width = PanelWidth();
    for (int64_t begin = 0; begin < dim; begin += width) {
      const int64_t there = std::min(width, dim - begin);
      for (int64_t i = 0; i < count; ++i) {
        float* const row = out + begin * GradientRow() + i * width;
        std::fill(row + there, row + width, 0.0f);
        if (from.type == FloatType::kFloat32 && from.dim == 1) {
          std::copy_n(static_cast<const float*>(from.data) + (first + i) * from.row + begin, there,
                      row);
        } else {
          for (int64_t d = 0; d < there; ++d) row[d] = At(from, first + i, begin + d);
        }
      }
    }
  }

  // out[position][:] += sum over rows of factors[position][row] * rows[row][:].
  void Accumulate(const float* factors, int64_t begin, int64_t count, const float* rows,
                  int64_t dim, float* out) const {
    const int64_t width = PanelWidth();
    for (int64_t d = 0; d < dim; d += width) {
      float* const at = out + d * sizes_.positions + begin * width;
      const float* const parts = rows + d * GradientRow();
      if (are_rows_finite_) {
        Product(factors, GradientRow(), 1, count, parts, row_count_, at, AddTo());
        continue;
      }
      for (int64_t c = 0; c < count; ++c) {
        for (int64_t row = 0; row < row_count_; ++row) {
          const float factor = factors[c * GradientRow() + row];
          if (factor == 0) continue;
          for (int64_t i = 0; i < width; i += static_cast<int64_t>(hn::Lanes(F32()))) {
            const V32 row_part = hn::Load(F32(), parts + row * width + i);
            float* const sum = at + c * width + i;
            hn::Store(hn::MulAdd(hn::Set(F32(), factor), row_part, hn::Load(F32(), sum)), F32(),
                      sum);
          }
        }
      }
    }
  }

  const GradientSizes sizes_;
  float *const k_scratch_, *const v_scratch_;  // Widened: [positions][dim], [positions][dim_v].
  float* const panels_;                        // [panels]: q [dim][width], d_out [dim_v][width].
  float *q_rows_ = nullptr, *d_out_rows_ = nullptr;  // [padded dim / width][kPanels * width][width]
  Floats k_, v_;
  int64_t row_count_ = 0;
  bool is_k_finite_ = true, are_rows_finite_ = true;
};

#if SPLASHMASK_HAS_PAIRS
/// Everything in pairs of bfloat16 numbers, and products in AVX-512-BF16; weights and gradients of
/// logits are rounded to bfloat16, as JAX's kernel does.
class PairGradientOperands {
 public:
  static constexpr int64_t kTogether = 2;

  PairGradientOperands(const GradientSizes& sizes, Scratch& scratch)
      : sizes_(sizes),
        k_(sizes.positions, sizes.dim, scratch),
        v_(sizes.positions, sizes.dim_v, scratch),
        k_pairs_(sizes.positions, sizes.dim, sizes.dim, scratch),
        q_panels_(TakePairs(scratch, sizes.panels * PairCount(sizes.dim) * PanelWidth())),
        d_out_panels_(TakePairs(scratch, sizes.panels * PairCount(sizes.dim_v) * PanelWidth())),
        rounded_(TakePairs(scratch, kTile * PanelWidth())) {
    if (!sizes.has_rows) return;
    q_rows_.emplace(GradientRow(), sizes.dim, PanelWidth(), scratch);
    d_out_rows_.emplace(GradientRow(), sizes.dim_v, PanelWidth(), scratch);
  }

  static bool Serve(const GradientRows& rows, const Rows& k, const Rows& v) {
    return rows.q.type == FloatType::kBFloat16 && rows.d_out.type == FloatType::kBFloat16 &&
           k.type == FloatType::kBFloat16 && v.type == FloatType::kBFloat16 && MultipliesPairs();
  }

  void LoadPositions(const Rows& k, const Rows& v, int64_t first, int64_t count) {
    k_.Load(k, first, count);
    v_.Load(v, first, count);
    k_pairs_.Load(k, first, count);
  }

  void LoadPanel(int64_t panel, const GradientRows& of, int64_t first, int64_t count) const {
    const auto load = [&](const Rows& rows, int64_t dim, uint32_t* pairs) {
      if (count < PanelWidth()) std::fill_n(pairs, PairCount(dim) * PanelWidth(), 0);
      PairsToPanel(rows, first, count, dim, pairs);
    };
    load(of.q, sizes_.dim, Q(panel));
    load(of.d_out, sizes_.dim_v, DOut(panel));
  }

  void LoadRows(const GradientRows& of, int64_t first, int64_t count) {
    q_rows_->Load(of.q, first, count);
    d_out_rows_->Load(of.d_out, first, count);
  }

  void Logits(int64_t panel, int64_t begin, int64_t count, float* out) const {
    Bf16Product(k_.At(begin), k_.row(), 2, count, Q(panel), PairCount(sizes_.dim), nullptr, out,
                GradientRow());
  }

  void WeightGradients(int64_t panel, int64_t begin, int64_t count, float* out) const {
    Bf16Product(v_.At(begin), v_.row(), 2, count, DOut(panel), PairCount(sizes_.dim_v), nullptr,
                out, GradientRow());
  }

  void AddDq(const float* d_logits, int64_t begin, int64_t count, float* dq) const {
    RoundToPairs(d_logits, GradientRow(), count, rounded_);
    Bf16Product(reinterpret_cast<const uint16_t*>(k_pairs_.Part(0, begin)), 2, 2 * sizes_.dim,
                sizes_.dim, rounded_, count / 2, kOnes, dq, PanelWidth());
    k_pairs_.ForEachNotFinite(begin, count, [&](int64_t position, int64_t d, float k) {
      const float* const factors = d_logits + (position - begin) * GradientRow();
      for (int64_t lane = 0; lane < PanelWidth(); ++lane) {
        if (factors[lane] != 0) dq[d * PanelWidth() + lane] += factors[lane] * k;
      }
    });
  }

  void AddToPositions(const float* weights, const float* d_logits, int64_t begin, int64_t count,
                      const PositionSums& sums) const {
    Accumulate(weights, begin, count, *d_out_rows_, sizes_.dim_v, sums.dv);
    Accumulate(d_logits, begin, count, *q_rows_, sizes_.dim, sums.dk);
  }

 private:
  uint32_t* Q(int64_t panel) const {
    return q_panels_ + panel * PairCount(sizes_.dim) * PanelWidth();
  }
  uint32_t* DOut(int64_t panel) const {
    return d_out_panels_ + panel * PairCount(sizes_.dim_v) * PanelWidth();
  }

  void Accumulate(const float* factors, int64_t begin, int64_t count, const PairedRows& rows,
                  int64_t dim, float* out) const {
    auto* const rounded = reinterpret_cast<uint16_t*>(rounded_);
    RoundToBf16(factors, count * GradientRow(), rounded);
    for (int64_t d = 0; d < dim; d += PanelWidth()) {
      Bf16Product(rounded, GradientRow(), 2, count, rows.Part(d), rows.pair_count(), kOnes,
                  out + d * sizes_.positions + begin * PanelWidth(), PanelWidth());
    }
    rows.ForEachNotFinite(0, rows.count(), [&](int64_t row, int64_t d, float value) {
      for (int64_t c = 0; c < count; ++c) {
        const float factor = factors[c * GradientRow() + row];
        float* const part = out + d / PanelWidth() * PanelWidth() * sizes_.positions;
        if (factor != 0) part[(begin + c) * PanelWidth() + d % PanelWidth()] += factor * value;
      }
    });
  }

  const GradientSizes sizes_;
  RowsOfPairs k_, v_;                               // Pairs along the dimension.
  PairedRows k_pairs_;                              // Pairs of positions.
  uint32_t *const q_panels_, *const d_out_panels_;  // [panels][pairs of dim][width]
  uint32_t* const rounded_;  // [kTile / 2][width] pairs, or [kTile][kPanels * width] numbers.
  std::optional<PairedRows> q_rows_, d_out_rows_;  // Pairs of rows.
};
#else
using PairGradientOperands = FloatGradientOperands;
#endif

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
