// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace splashmask {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Where the elements [dim] of one position stand in a C-contiguous tensor.
size_t At(const ConstTensor& tensor, int64_t b, int64_t head, int64_t i) {
  return static_cast<size_t>(((b * tensor.heads + head) * tensor.length + i) * tensor.dim);
}

std::vector<double> Zeros(const ConstTensor& tensor) {
  return std::vector<double>(
      static_cast<size_t>(tensor.batch * tensor.heads * tensor.length * tensor.dim));
}

// A tensor in double, C-contiguous whatever it was.
class Widened {
 public:
  explicit Widened(const ConstTensor& tensor) : tensor_(tensor), values_(Zeros(tensor)) {
    size_t next = 0;
    for (int64_t b = 0; b < tensor.batch; ++b) {
      for (int64_t head = 0; head < tensor.heads; ++head) {
        for (int64_t i = 0; i < tensor.length; ++i) {
          for (int64_t d = 0; d < tensor.dim; ++d) values_[next++] = tensor.At(b, head, i, d);
        }
      }
    }
  }

  const double* Row(int64_t b, int64_t head, int64_t i) const {
    return values_.data() + At(tensor_, b, head, i);
  }

 private:
  ConstTensor tensor_;
  std::vector<double> values_;
};

double Dot(const double* a, const double* b, int64_t dim) {
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) sum += a[d] * b[d];
  return sum;
}

void AddScaled(double scale, const double* row, int64_t dim, double* sum) {
  for (int64_t d = 0; d < dim; ++d) sum[d] += scale * row[d];
}

// The logits of one query before and after the soft cap.
struct Row {
  std::vector<double> uncapped, logits;  // [kv_len]; -inf: no such pair.
};

class Problem {
 public:
  Problem(const AttentionInputs& in, const VisiblePair& visible, const ReferenceOptions& options)
      : q(in.q), k(in.k), v(in.v), in_(in), visible_(visible), options_(options) {}

  const Widened q, k, v;

  int64_t KvHead(int64_t head) const { return head / (in_.q.heads / in_.k.heads); }

  Row LogitsOf(int64_t b, int64_t head, int64_t i) const {
    Row row;
    for (int64_t kv = 0; kv < in_.k.length; ++kv) {
      const double dot = Dot(q.Row(b, head, i), k.Row(b, KvHead(head), kv), in_.q.dim);
      row.uncapped.push_back(dot);
      row.logits.push_back(Sees(b, head, i, kv) ? Capped(dot)
                                                : options_.mask_value.value_or(-kInfinity));
    }
    return row;
  }

  // d capped / d uncapped.
  double CapSlope(double uncapped) const {
    if (!options_.attn_logits_soft_cap) return 1;
    const double tanh = std::tanh(uncapped / *options_.attn_logits_soft_cap);
    return 1 - tanh * tanh;
  }

  bool has_sinks() const { return !in_.sinks.empty(); }
  double Sink(int64_t head) const {
    return has_sinks() ? in_.sinks[static_cast<size_t>(head)] : -kInfinity;
  }

 private:
  bool Sees(int64_t b, int64_t head, int64_t i, int64_t kv) const {
    if (const auto& ids = in_.segment_ids;
        ids && ids->OfQ(b, in_.q.length)[i] != ids->OfKv(b, in_.k.length)[kv]) {
      return false;
    }
    return visible_(head, i, kv);
  }

  double Capped(double dot) const {
    if (!options_.attn_logits_soft_cap) return dot;
    const double cap = *options_.attn_logits_soft_cap;
    return cap * std::tanh(dot / cap);
  }

  const AttentionInputs& in_;
  const VisiblePair& visible_;
  const ReferenceOptions& options_;
};

}  // namespace

ReferenceOutput ReferenceForward(const AttentionInputs& in, const VisiblePair& visible,
                                 const ReferenceOptions& options) {
  const Problem problem(in, visible, options);
  ReferenceOutput result;
  for (int64_t b = 0; b < in.q.batch; ++b) {
    for (int64_t head = 0; head < in.q.heads; ++head) {
      for (int64_t q = 0; q < in.q.length; ++q) {
        const std::vector<double> logits = problem.LogitsOf(b, head, q).logits;
        const double largest =
            std::max(*std::max_element(logits.begin(), logits.end()), problem.Sink(head));
        std::vector<double> out(static_cast<size_t>(in.v.dim));
        if (largest == -kInfinity) {
          result.out.insert(result.out.end(), out.begin(), out.end());
          result.logsumexp.push_back(-kInfinity);
          continue;
        }
        double sum = problem.has_sinks() ? std::exp(problem.Sink(head) - largest) : 0;
        for (int64_t kv = 0; kv < in.k.length; ++kv) {
          const double logit = logits[static_cast<size_t>(kv)];
          if (logit == -kInfinity) continue;  // Not 0 * v: v may be infinite.
          const double weight = std::exp(logit - largest);
          sum += weight;
          AddScaled(weight, problem.v.Row(b, problem.KvHead(head), kv), in.v.dim, out.data());
        }
        for (double value : out) result.out.push_back(value / sum);
        result.logsumexp.push_back(largest + std::log(sum));
      }
    }
  }
  return result;
}

ReferenceGradients ReferenceBackward(const AttentionInputs& in, const VisiblePair& visible,
                                     const ReferenceOutput& forward, const ConstTensor& d_out,
                                     BackwardForm form, const ReferenceOptions& options) {
  const Problem problem(in, visible, options);
  const Widened widened_d_out(d_out);
  ReferenceGradients result{Zeros(in.q), Zeros(in.k), Zeros(in.v),
                            std::vector<double>(in.sinks.size())};
  for (int64_t b = 0; b < in.q.batch; ++b) {
    for (int64_t head = 0; head < in.q.heads; ++head) {
      const int64_t kv_head = problem.KvHead(head);
      for (int64_t q = 0; q < in.q.length; ++q) {
        const double logsumexp =
            forward.logsumexp[static_cast<size_t>((b * in.q.heads + head) * in.q.length + q)];
        if (logsumexp == -kInfinity) continue;
        const Row row = problem.LogitsOf(b, head, q);
        std::vector<double> p, dp;
        double out_do = 0, p_dp = 0;
        const double* d_out_row = widened_d_out.Row(b, head, q);
        for (int64_t d = 0; d < in.v.dim; ++d) {
          const double value = forward.out[At(d_out, b, head, q) + static_cast<size_t>(d)];
          if (value != 0) out_do += value * d_out_row[d];
        }
        for (int64_t kv = 0; kv < in.k.length; ++kv) {
          const double logit = row.logits[static_cast<size_t>(kv)];
          p.push_back(logit == -kInfinity ? 0 : std::exp(logit - logsumexp));
          dp.push_back(0);
          if (p.back() == 0) continue;
          dp.back() = Dot(d_out_row, problem.v.Row(b, kv_head, kv), in.v.dim);
          p_dp += p.back() * dp.back();
        }
        const double mean = form == BackwardForm::kFlash ? out_do : p_dp;
        for (int64_t kv = 0; kv < in.k.length; ++kv) {
          const auto i = static_cast<size_t>(kv);
          if (p[i] == 0) continue;
          const double ds = (dp[i] - mean) * p[i] * problem.CapSlope(row.uncapped[i]);
          AddScaled(ds, problem.k.Row(b, kv_head, kv), in.q.dim, &result.dq[At(in.q, b, head, q)]);
          AddScaled(ds, problem.q.Row(b, head, q), in.q.dim, &result.dk[At(in.k, b, kv_head, kv)]);
          AddScaled(p[i], d_out_row, in.v.dim, &result.dv[At(in.v, b, kv_head, kv)]);
        }
        if (problem.has_sinks()) {
          // A sink is a logit whose value is 0: its own share times (0 - the row's mean).
          result.sinks[static_cast<size_t>(head)] -=
              std::exp(problem.Sink(head) - logsumexp) * out_do;
        }
      }
    }
  }
  return result;
}

}  // namespace splashmask
