// SPDX-License-Identifier: Apache-2.0
// Attention on this machine's processors beside what they can do at best: the rate of multiply-adds
// in registers, and OpenBLAS' sgemm. Rows drawn at random are checked against the reference in
// double before anything is timed. Then how time grows with the pairs that a mask lets through, and
// how much memory a long sequence takes beyond its inputs and outputs.
//
//   [SPLASHMASK_SIMD_TARGET=AVX2] attention_benchmark [threads]

#include <cblas.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/kernels/fma_peak.h"
#include "splashmask/kernels/reference.h"
#include "splashmask/kernels/simd_target.h"
#include "splashmask/masks/mask_cells.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/count_pairs.h"
#include "splashmask/planner/plan_statistics.h"

namespace splashmask {
namespace {

constexpr int64_t kHeads = 8, kLength = 4096, kDim = 128, kBlock = 512;

std::vector<float> Normal(int64_t count, float scale) {
  std::mt19937 random(static_cast<uint32_t>(count));
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

template <typename Work>
double SecondsOf(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

// OpenBLAS' product of two squares.
class Sgemm {
 public:
  explicit Sgemm(int threads) { openblas_set_num_threads(threads); }

  // Operations a second, of one product.
  double Rate() {
    const double seconds = SecondsOf([&] {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, kSize, kSize, kSize, 1, a_.data(),
                  kSize, b_.data(), kSize, 0, c_.data(), kSize);
    });
    return 2.0 * kSize * kSize * kSize / seconds;
  }

 private:
  static constexpr int kSize = 2048;
  std::vector<float> a_ = Normal(kSize * kSize, 1), b_ = Normal(kSize * kSize + 1, 1),
                     c_ = std::vector<float>(kSize * kSize);
};

struct Arrays {
  std::vector<float> q = Normal(kHeads * kLength * kDim, 1 / std::sqrt(static_cast<float>(kDim)));
  std::vector<float> k = Normal(kHeads * kLength * kDim + 1, 1);
  std::vector<float> v = Normal(kHeads * kLength * kDim + 2, 1);
  std::vector<float> out = std::vector<float>(q.size());

  static Tensor View(std::vector<float>& values) {
    return Tensor::Contiguous(values.data(), FloatType::kFloat32, 1, kHeads, kLength, kDim);
  }
  AttentionInputs inputs() { return {View(q), View(k), View(v), {}, {}}; }
};

// Whether sampled rows are those of the reference.
bool IsRight(Arrays& arrays, const Mask& mask) {
  const MaskCells cells(mask);
  std::vector<std::byte> seen(kLength);
  std::mt19937 random(3);
  for (int sample = 0; sample < 8; ++sample) {
    const int64_t head = random() % kHeads, row = random() % kLength;
    AttentionInputs one = arrays.inputs();
    for (ConstTensor* tensor : {&one.q, &one.k, &one.v}) {
      tensor->data = static_cast<const float*>(tensor->data) + tensor->Offset(0, head, 0, 0);
      tensor->heads = 1;
    }
    one.q.data = static_cast<const float*>(one.q.data) + one.q.Offset(0, 0, row, 0);
    one.q.length = 1;
    cells.Read(row, row + 1, 0, kLength, seen.data());
    const ReferenceOutput expected = ReferenceForward(one, [&](int64_t, int64_t, int64_t kv) {
      return seen[static_cast<size_t>(kv)] != std::byte{0};
    });
    for (int64_t d = 0; d < kDim; ++d) {
      const float got = arrays.out[static_cast<size_t>((head * kLength + row) * kDim + d)];
      if (!(std::abs(expected.out[static_cast<size_t>(d)] - got) < 1e-5)) return false;
    }
  }
  return true;
}

int64_t VisiblePairs(const Mask& mask) { return CountPairs(MultiHeadMask(mask, 1)).front(); }

SplashAttention MakeAttention(const Mask& mask, int64_t heads, int64_t block, int threads,
                              bool backward = false) {
  CompileOptions compile;
  compile.fwd = BlockShape{block, block};
  if (backward) compile.dq = compile.dkv = compile.fwd;
  AttentionOptions options;
  options.threads = threads;
  return SplashAttention(Compile(MultiHeadMask(mask, heads), compile), options);
}

Mask RandomBlocks(Shape shape, int64_t block, double density) {
  std::mt19937_64 random(static_cast<uint64_t>(density * 1000));
  std::bernoulli_distribution is_set(density);
  const int64_t rows = shape.q_len / block, columns = shape.kv_len / block;
  const auto bits = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(rows * columns));
  for (uint8_t& bit : *bits) bit = is_set(random);
  return Mask::Blocks(
      shape, Array(DType::kBool, {rows, columns}, std::shared_ptr<const void>(bits, bits->data())),
      block);
}

// Pairs in the blocks that the tables visit, of one head.
int64_t VisitedPairs(const Plan& plan) {
  const BlockCounts counts = CountBlocks(plan, Pass::kFwd).front();
  return (counts.full + counts.partial) * plan.fwd->block.q * plan.fwd->block.kv;
}

// The line through times that are as little off as may be.
class Fit {
 public:
  void Add(double x, double y) {
    n_ += 1, x_ += x, y_ += y, xx_ += x * x, xy_ += x * y, yy_ += y * y;
  }
  void Print(const char* what, double dense) const {
    const double covariance = n_ * xy_ - x_ * y_, variance = n_ * xx_ - x_ * x_;
    const double slope = covariance / variance, intercept = (y_ - slope * x_) / n_;
    fmt::print("time against {} pairs, {} masks: R^2 {:.4f}, intercept {:.1f} % of dense\n", what,
               n_, covariance * covariance / variance / (n_ * yy_ - y_ * y_),
               100 * intercept / dense);
  }

 private:
  double n_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0, yy_ = 0;
};

// Time against pairs, from 1 % to all of them: a line, which begins near 0.
int FitDensities(Arrays& arrays, int threads) {
  const Shape shape{kLength, kLength};
  std::vector<Mask> masks{Mask::Full(shape), Mask::Causal(shape)};
  for (const int64_t window : {40, 150, 400, 1000, 2000}) {
    masks.push_back(Mask::Local(shape, window, 0));
  }
  for (const int64_t documents : {2, 4, 8, 16, 32}) {
    const std::vector<int64_t> lengths(static_cast<size_t>(documents), kLength / documents);
    masks.push_back(Mask::Documents(shape, lengths));
    masks.push_back(Mask::Documents(shape, lengths) & Mask::Causal(shape));
  }
  for (const double density : {0.02, 0.1, 0.3, 0.6}) {
    masks.push_back(RandomBlocks(shape, 128, density));
  }
  Fit visited, visible;
  double dense = 0;
  for (const Mask& mask : masks) {
    const SplashAttention attention = MakeAttention(mask, kHeads, 128, threads);
    attention.Forward(arrays.inputs(), Arrays::View(arrays.out));
    if (!IsRight(arrays, mask)) {
      fmt::print("a mask of the fit: WRONG\n");
      return 1;
    }
    std::vector<double> times;
    for (int i = 0; i < 5; ++i) {
      times.push_back(
          SecondsOf([&] { attention.Forward(arrays.inputs(), Arrays::View(arrays.out)); }));
    }
    const double seconds = Median(times);
    if (dense == 0) dense = seconds;
    visited.Add(static_cast<double>(VisitedPairs(attention.plan())), seconds);
    visible.Add(static_cast<double>(VisiblePairs(mask)), seconds);
  }
  visited.Print("visited", dense);
  visible.Print("visible", dense);
  return 0;
}

int64_t PeakBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

// Inputs and outputs are there, and touched, before.
void MeasureMemory(int threads) {
  constexpr int64_t kLong = 131072;
  const auto make = [] { return std::vector<float>(kLong * kDim, 0.01f); };
  std::vector<float> q = make(), k = make(), v = make(), out = make(), d_out = make(), dq = make(),
                     dk = make(), dv = make(), logsumexp(kLong, 1.0f);
  const auto view = [](std::vector<float>& values) {
    return Tensor::Contiguous(values.data(), FloatType::kFloat32, 1, 1, kLong, kDim);
  };
  const Shape shape{kLong, kLong};
  const SplashAttention attention =
      MakeAttention(Mask::Local(shape, 2048, 0), 1, kBlock, threads, true);
  const AttentionInputs inputs{view(q), view(k), view(v), {}, {}};
  const int64_t before = PeakBytes();
  attention.Forward(inputs, view(out), logsumexp);
  const int64_t forward = PeakBytes();
  attention.Backward(inputs, {view(out), logsumexp}, view(d_out),
                     {view(dq), view(dk), view(dv), {}});
  fmt::print("S = {}, 1 head: {:.1f} MiB beyond inputs and outputs forward, {:.1f} backward\n",
             kLong, static_cast<double>(forward - before) / (1 << 20),
             static_cast<double>(PeakBytes() - before) / (1 << 20));
}

// The three take turns: the clock of a machine is not the same from one second to the next.
void TimeBesideLimits(const char* name, const SplashAttention& attention, int64_t pairs,
                      Arrays& arrays, Sgemm& sgemm, int threads) {
  std::vector<double> seconds, of_peak, of_sgemm;
  const double operations = 4.0 * static_cast<double>(pairs * kHeads * kDim);
  for (int turn = 0; turn < 9; ++turn) {
    const double peak = MeasureFmaPeak(threads);
    seconds.push_back(
        SecondsOf([&] { attention.Forward(arrays.inputs(), Arrays::View(arrays.out)); }));
    of_peak.push_back(operations / seconds.back() / peak);
    of_sgemm.push_back(operations / seconds.back() / sgemm.Rate());
  }
  fmt::print(
      "{:<16} {:8.2f} ms {:7.1f} GFLOP/s of visible pairs: {:5.1f} % of the peak, {:5.1f} % of "
      "sgemm\n",
      name, Median(seconds) * 1e3, operations / Median(seconds) / 1e9, 100 * Median(of_peak),
      100 * Median(of_sgemm));
}

int Main(int threads) {
  Sgemm sgemm(threads);
  sgemm.Rate();
  fmt::print("{} threads, {}: multiply-adds in registers {:.1f} GFLOP/s, sgemm 2048 {:.1f}\n",
             threads, SimdTarget(), MeasureFmaPeak(threads) / 1e9, sgemm.Rate() / 1e9);
  Arrays arrays;
  const Shape shape{kLength, kLength};
  for (const auto& [name, mask] : {std::pair{"full", Mask::Full(shape)},
                                   {"causal", Mask::Causal(shape)},
                                   {"local(1024, 0)", Mask::Local(shape, 1024, 0)}}) {
    const SplashAttention attention = MakeAttention(mask, kHeads, kBlock, threads);
    attention.Forward(arrays.inputs(), Arrays::View(arrays.out));
    if (!IsRight(arrays, mask)) {
      fmt::print("{}: WRONG\n", name);
      return 1;
    }
    TimeBesideLimits(name, attention, VisiblePairs(mask), arrays, sgemm, threads);
  }
  MeasureMemory(threads);
  return FitDensities(arrays, threads);
}

}  // namespace
}  // namespace splashmask

int main(int argc, char** argv) {
  return splashmask::Main(argc > 1 ? std::atoi(argv[1]) : tbb::this_task_arena::max_concurrency());
}
