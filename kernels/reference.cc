// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace splashmask {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Where a pair stands, and its logit before and after the soft cap.
struct Row {
  std::vector<double> uncapped, logits;  // [kv_len]; -inf: no such pair.
};

class Problem {
 public:
  Problem(const AttentionInputs& in, const VisiblePair& visible, const ReferenceOptions& options)
      : in_(in), visible_(visible), options_(options) {}

  int64_t KvHead(int64_t head) const { return head / (in_.q.heads / in_.k.heads); }

  Row LogitsOf(int64_t b, int64_t head, int64_t q) const {
    Row row;
    for (int64_t kv = 0; kv < in_.k.length; ++kv) {
      double dot = 0;
      for (int64_t d = 0; d < in_.q.dim; ++d) {
        dot += static_cast<double>(in_.q.At(b, head, q, d)) *
               static_cast<double>(in_.k.At(b, KvHead(head), kv, d));
      }
      row.uncapped.push_back(dot);
      row.logits.push_back(Sees(head, q, kv) ? Capped(dot)
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
  bool Sees(int64_t head, int64_t q, int64_t kv) const {
    if (in_.segment_ids && in_.segment_ids->q[static_cast<size_t>(q)] !=
                               in_.segment_ids->kv[static_cast<size_t>(kv)]) {
      return false;
    }
    return visible_(head, q, kv);
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
          for (int64_t d = 0; d < in.v.dim; ++d) {
            out[static_cast<size_t>(d)] += weight * in.v.At(b, problem.KvHead(head), kv, d);
          }
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
  const auto at = [](const auto& tensor, int64_t b, int64_t head, int64_t i, int64_t d) {
    return static_cast<size_t>(((b * tensor.heads + head) * tensor.length + i) * tensor.dim + d);
  };
  const auto zeros = [](const ConstTensor& tensor) {
    return std::vector<double>(
        static_cast<size_t>(tensor.batch * tensor.heads * tensor.length * tensor.dim));
  };
  ReferenceGradients result{zeros(in.q), zeros(in.k), zeros(in.v),
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
        for (int64_t d = 0; d < in.v.dim; ++d) {
          const double value = forward.out[at(d_out, b, head, q, d)];
          if (value != 0) out_do += value * d_out.At(b, head, q, d);
        }
        for (int64_t kv = 0; kv < in.k.length; ++kv) {
          const double logit = row.logits[static_cast<size_t>(kv)];
          p.push_back(logit == -kInfinity ? 0 : std::exp(logit - logsumexp));
          dp.push_back(0);
          if (p.back() == 0) continue;
          for (int64_t d = 0; d < in.v.dim; ++d) {
            dp.back() += static_cast<double>(d_out.At(b, head, q, d)) * in.v.At(b, kv_head, kv, d);
          }
          p_dp += p.back() * dp.back();
        }
        const double mean = form == BackwardForm::kFlash ? out_do : p_dp;
        for (int64_t kv = 0; kv < in.k.length; ++kv) {
          const auto i = static_cast<size_t>(kv);
          if (p[i] == 0) continue;
          const double ds = (dp[i] - mean) * p[i] * problem.CapSlope(row.uncapped[i]);
          for (int64_t d = 0; d < in.q.dim; ++d) {
            result.dq[at(in.q, b, head, q, d)] += ds * in.k.At(b, kv_head, kv, d);
            result.dk[at(in.k, b, kv_head, kv, d)] += ds * in.q.At(b, head, q, d);
          }
          for (int64_t d = 0; d < in.v.dim; ++d) {
            result.dv[at(in.v, b, kv_head, kv, d)] += p[i] * d_out.At(b, head, q, d);
          }
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
