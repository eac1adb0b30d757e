// SPDX-License-Identifier: Apache-2.0
#include "splashmask/kernels/fma_peak.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <numeric>
#include <thread>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "splashmask/kernels/fma_peak.cc"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "splashmask/kernels/simd_choice.h"

HWY_BEFORE_NAMESPACE();
namespace splashmask {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Operations done; `sink` keeps the compiler from leaving them out.
double MultiplyAdd(int64_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  const auto factor = hn::Set(d, 0.999f), term = hn::Set(d, 0.001f);
  // Ten chains, more than any machine needs to hide the latency; no two alike, or they would be
  // one.
  const auto chain = [&](float first) { return hn::Set(d, first); };
  auto a = chain(0), b = chain(1), c = chain(2), e = chain(3), f = chain(4), g = chain(5),
       h = chain(6), i = chain(7), j = chain(8), k = chain(9);
  for (int64_t round = 0; round < rounds; ++round) {
    a = hn::MulAdd(a, factor, term);
    b = hn::MulAdd(b, factor, term);
    c = hn::MulAdd(c, factor, term);
    e = hn::MulAdd(e, factor, term);
    f = hn::MulAdd(f, factor, term);
    g = hn::MulAdd(g, factor, term);
    h = hn::MulAdd(h, factor, term);
    i = hn::MulAdd(i, factor, term);
    j = hn::MulAdd(j, factor, term);
    k = hn::MulAdd(k, factor, term);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)),
                           hn::Add(hn::Add(hn::Add(f, g), hn::Add(h, i)), hn::Add(j, k)));
  *sink = hn::GetLane(hn::SumOfLanes(d, sum));
  return 2.0 * 10 * static_cast<double>(rounds) * static_cast<double>(hn::Lanes(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace splashmask
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace splashmask {

HWY_EXPORT(MultiplyAdd);

double MeasureFmaPeak(int threads) {
  ChooseSimdTarget();
  threads =
      std::clamp(threads, 1, std::max(1, static_cast<int>(std::thread::hardware_concurrency())));
  double best = 0;
  for (int attempt = 0; attempt < 5; ++attempt) {
    std::atomic<int> ready = 0;
    std::vector<double> rates(static_cast<size_t>(threads));
    std::vector<std::thread> workers;
    for (double& rate : rates) {
      workers.emplace_back([&] {
        float sink = 0;
        HWY_DYNAMIC_DISPATCH(MultiplyAdd)(1 << 20, &sink);  // Up to its clock.
        ++ready;
        while (ready < threads) {
        }
        const auto start = std::chrono::steady_clock::now();
        const double operations = HWY_DYNAMIC_DISPATCH(MultiplyAdd)(1 << 24, &sink);
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        rate = operations / seconds.count();
      });
    }
    for (std::thread& worker : workers) worker.join();
    best = std::max(best, std::accumulate(rates.begin(), rates.end(), 0.0));
  }
  return best;
}

}  // namespace splashmask
#endif  // HWY_ONCE
