// SPDX-License-Identifier: Apache-2.0
// Weights and their gradients in a tile of the backward pass. Included once for each SIMD target.

#if defined(SPLASHMASK_KERNELS_FAST_GRADIENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPLASHMASK_KERNELS_FAST_GRADIENTS_INL_H_
#undef SPLASHMASK_KERNELS_FAST_GRADIENTS_INL_H_
#else
#define SPLASHMASK_KERNELS_FAST_GRADIENTS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "splashmask/kernels/fast/exp-inl.h"
#include "splashmask/kernels/fast/gradient_operands-inl.h"
#include "splashmask/kernels/fast/gradient_rows.h"
#include "splashmask/kernels/fast/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask::fast::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// What the backward pass knows of the rows that share a panel, beside their numbers.
struct GradientPanel {
  PanelRows rows;
  float *logsumexp, *di;  // [width]; +inf for rows that see nothing, so that weights are 0.

  static int64_t Size() { return 2 * PanelWidth() + PanelRows::Size(); }

  GradientPanel(float* memory, int64_t first, int64_t count) {
    logsumexp = memory;
    di = logsumexp + PanelWidth();
    rows = PanelRows(di + PanelWidth(), {0, 1, first, count});
  }

  /// All but what the rows see.
  void Load(const GradientRows& all) const {
    const int64_t first = rows.lanes.first_row, count = rows.lanes.rows;
    for (int64_t i = 0; i < PanelWidth(); ++i) {
      const int64_t row = first + std::min(i, count - 1);
      const bool is_there = i < count && all.logsumexp[row] != -kInfinity;
      logsumexp[i] = is_there ? all.logsumexp[row] : kInfinity;
      di[i] = is_there ? all.di[row] : 0;
    }
  }
};

/// Weights, and the gradients of the uncapped logits, of one tile: [count][kPanels][width].
class Gradients {
 public:
  Gradients(float soft_cap, Scratch& scratch)
      : soft_cap_(soft_cap),
        weights_(scratch.Take(kTile * GradientRow())),
        d_logits_(scratch.Take(kTile * GradientRow())) {}

  /// Those of a panel, the `index`-th of those beside each other, at tile positions
  /// [first, first + count), which are [loaded, loaded + count) of the operands'.
  template <class Operands>
  void Compute(const GradientPanel& panel, int index, const TileMask& mask, bool masked,
               const Operands& operands, int64_t which_panel, int64_t loaded, int64_t first,
               int64_t count) {
    float* const weights = weights_ + first * GradientRow() + index * PanelWidth();
    float* const d_logits = d_logits_ + first * GradientRow() + index * PanelWidth();
    operands.Logits(which_panel, loaded, count, weights);
    if (soft_cap_ != 0) Cap(soft_cap_, count, weights, GradientRow());
    if (masked) mask.Hide(panel.rows, count, weights, GradientRow());
    operands.WeightGradients(which_panel, loaded, count, d_logits);
    const F32 d;
    const auto lanes = static_cast<int64_t>(hn::Lanes(d));
    const V32 one = hn::Set(d, 1.0f), inverse_cap = hn::Set(d, soft_cap_ == 0 ? 0 : 1 / soft_cap_);
    const bool is_capped = soft_cap_ != 0;
    const int64_t row = GradientRow();
    for (int i = 0; i < kVectors; ++i) {
      const V32 logsumexp = hn::Load(d, panel.logsumexp + i * lanes);
      const V32 di = hn::Load(d, panel.di + i * lanes);
      const auto sees_nothing = hn::Eq(logsumexp, hn::Set(d, kInfinity));  // Or is no row at all.
      const auto compute = [&]<int kPositions>(std::integral_constant<int, kPositions>,
                                               int64_t c) HWY_ATTR {
        float *const weight = weights + c * row + i * lanes, *const d_logit =
                                                                 d_logits + c * row + i * lanes;
        V32 logit[kPositions], x[kPositions];
        for (int n = 0; n < kPositions; ++n) {
          logit[n] = hn::Load(d, weight + n * row);
          x[n] = hn::Sub(logit[n], logsumexp);
        }
        ExpOfNegatives(d, x);
        for (int n = 0; n < kPositions; ++n) {
          // What is hidden has no weight, even where logsumexp is NaN.
          const auto is_hidden = hn::Or(hn::Eq(logit[n], hn::Set(d, -kInfinity)), sees_nothing);
          x[n] = hn::IfThenZeroElse(is_hidden, x[n]);
          V32 gradient = hn::Mul(x[n], hn::Sub(hn::Load(d, d_logit + n * row), di));
          if (is_capped) {
            const V32 tanh = hn::Mul(logit[n], inverse_cap);
            gradient = hn::Mul(gradient, hn::NegMulAdd(tanh, tanh, one));
          }
          // What is not seen adds nothing, whatever it is.
          gradient = hn::IfThenZeroElse(hn::Eq(x[n], hn::Zero(d)), gradient);
          hn::Store(x[n], d, weight + n * row);
          hn::Store(gradient, d, d_logit + n * row);
        }
      };
      constexpr int kTogether = 4;
      int64_t c = 0;
      for (; c + kTogether <= count; c += kTogether) {
        compute(std::integral_constant<int, kTogether>(), c);
      }
      for (; c < count; ++c) compute(std::integral_constant<int, 1>(), c);
    }
  }

  /// Makes a panel's positions [first, first + count) 0.
  void Clear(int index, int64_t first, int64_t count) {
    for (int64_t c = first; c < first + count; ++c) {
      std::fill_n(weights_ + c * GradientRow() + index * PanelWidth(), PanelWidth(), 0.0f);
      std::fill_n(d_logits_ + c * GradientRow() + index * PanelWidth(), PanelWidth(), 0.0f);
    }
  }

  /// From a position of the tile on.
  const float* weights(int64_t first) const { return weights_ + first * GradientRow(); }
  const float* d_logits(int64_t first) const { return d_logits_ + first * GradientRow(); }

 private:
  const float soft_cap_;
  float* const weights_;
  float* const d_logits_;
};

}  // namespace splashmask::fast::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
