// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/run_check.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "splashmask/kernels/reference.h"
#include "splashmask/masks/mask_cells.h"

namespace splashmask::cli {

namespace {

void KeepLargest(double expected, float got, double* largest) {
  const auto number = static_cast<double>(got);
  double difference = std::abs(number - expected);
  if (number == expected || (std::isnan(number) && std::isnan(expected))) difference = 0;
  if (!std::isfinite(difference)) difference = std::numeric_limits<double>::quiet_NaN();
  if (std::isnan(difference) || difference > *largest) *largest = difference;
}

// One head of one sequence.
ConstTensor HeadOf(ConstTensor tensor, int64_t b, int64_t head) {
  tensor.data = static_cast<const std::byte*>(tensor.data) +
                tensor.Offset(b, head, 0, 0) * FloatSize(tensor.type);
  tensor.batch = tensor.heads = 1;
  return tensor;
}

// Some rows of one head as if there were no others.
struct HeadRows {
  std::vector<int64_t> rows;  // q positions.

  void Compare(const Mask& mask, const AttentionInputs& in, int64_t b, int64_t head,
               const float* out, const float* logsumexp, RunErrors* errors) const {
    const int64_t kv_len = in.k.length, dim_v = in.v.dim;
    const int64_t kv_head = head / (in.q.heads / in.k.heads);
    const ConstTensor q = HeadOf(in.q, b, head);
    std::vector<float> chosen;
    std::vector<std::byte> seen(rows.size() * static_cast<size_t>(kv_len));
    const MaskCells cells(mask);
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t d = 0; d < q.dim; ++d) chosen.push_back(q.At(0, 0, rows[i], d));
      cells.Read(rows[i], rows[i] + 1, 0, kv_len, seen.data() + i * static_cast<size_t>(kv_len));
    }
    const AttentionInputs one{
        ConstTensor::Contiguous(chosen.data(), FloatType::kFloat32, 1, 1, std::ssize(rows), q.dim),
        HeadOf(in.k, b, kv_head),
        HeadOf(in.v, b, kv_head),
        {},
        {}};
    const ReferenceOutput expected = ReferenceForward(one, [&](int64_t, int64_t i, int64_t kv) {
      return seen[static_cast<size_t>(i * kv_len + kv)] != std::byte{0};
    });
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t d = 0; d < dim_v; ++d) {
        KeepLargest(expected.out[i * static_cast<size_t>(dim_v) + static_cast<size_t>(d)],
                    out[rows[i] * dim_v + d], &errors->out);
      }
      KeepLargest(expected.logsumexp[i], logsumexp[rows[i]], &errors->logsumexp);
    }
  }
};

}  // namespace

RunErrors CheckRows(const MultiHeadMask& mask, const AttentionInputs& in,
                    std::span<const float> out, std::span<const float> logsumexp, int64_t rows,
                    const Progress& progress) {
  const auto all = std::ssize(logsumexp);
  RunErrors errors;
  errors.rows = std::min<int64_t>(rows, all);
  std::mt19937_64 random(2);
  std::map<int64_t, HeadRows> heads;  // By b * heads + head.
  for (int64_t i = 0; i < errors.rows; ++i) {
    const auto row =
        errors.rows == all ? i : static_cast<int64_t>(random() % static_cast<uint64_t>(all));
    heads[row / in.q.length].rows.push_back(row % in.q.length);
  }
  // A few at a time: each has a byte for every kv position.
  constexpr size_t kTogether = 64;
  int64_t done = 0;
  for (const auto& [which, of_head] : heads) {
    const int64_t b = which / in.q.heads, head = which % in.q.heads;
    for (size_t first = 0; first < of_head.rows.size(); first += kTogether) {
      progress.ThrowIfStopped();
      progress.Report(static_cast<double>(done) / static_cast<double>(errors.rows));
      const size_t last = std::min(of_head.rows.size(), first + kTogether);
      const HeadRows some{{of_head.rows.begin() + static_cast<ptrdiff_t>(first),
                           of_head.rows.begin() + static_cast<ptrdiff_t>(last)}};
      some.Compare(mask.masks()[static_cast<size_t>(head)], in, b, head,
                   out.data() + which * in.q.length * in.v.dim,
                   logsumexp.data() + which * in.q.length, &errors);
      done += std::ssize(some.rows);
    }
  }
  return errors;
}

}  // namespace splashmask::cli
