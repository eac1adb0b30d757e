// SPDX-License-Identifier: Apache-2.0
// Time and memory of Compile. Every case is certified, cell by cell, before it is timed.
//
//   compile_benchmark [--benchmark_filter=...] [--benchmark_format=json]
//
// bench/compare_with_jax.py runs it beside JAX.

#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench/memory_use.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask {
namespace {

// A dense causal mask with one cell in a thousand flipped: no two partial blocks alike.
Mask NoisyCausal(int64_t length) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(static_cast<size_t>(length * length));
  for (int64_t q = 0; q < length; ++q) {
    std::fill_n(bytes->begin() + q * length, q + 1, uint8_t{1});
  }
  std::mt19937_64 random(1);
  for (int64_t i = 0; i < length * length / 1000; ++i) (*bytes)[random() % bytes->size()] ^= 1;
  return Mask::Dense({length, length},
                     Array(DType::kBool, {length, length},
                           std::shared_ptr<const void>(bytes, bytes->data()), "noisy causal"));
}

void RunCase(benchmark::State& state, const Mask& mask, bool fwd, bool dkv) {
  const MultiHeadMask heads(mask, 1);
  CompileOptions options;
  if (fwd) options.fwd = BlockShape{512, 512};
  if (dkv) options.dkv = BlockShape{512, 512};

  ResetPeakMemory();
  const int64_t before = ResidentMemory();
  const Plan plan = Compile(heads, options);
  const int64_t peak = PeakMemory();
  const Certificate certificate = Certify(plan);
  if (certificate.mismatch) {
    state.SkipWithError(certificate.mismatch->ToString().c_str());
    return;
  }
  for (auto _ : state) benchmark::DoNotOptimize(Compile(heads, options));
  state.counters["output_MiB"] = static_cast<double>(OutputBytes(plan)) / (1 << 20);
  state.counters["peak_beyond_input_and_output_MiB"] =
      static_cast<double>(peak - before - OutputBytes(plan)) / (1 << 20);
}

void Add(const std::string& name, const std::function<Mask()>& make) {
  for (const auto& [pass, fwd, dkv] : {std::tuple("fwd", true, false), {"dkv", false, true}}) {
    benchmark::RegisterBenchmark(
        (name + "/" + pass).c_str(),
        [make, fwd = fwd, dkv = dkv](benchmark::State& state) { RunCase(state, make(), fwd, dkv); })
        ->Unit(benchmark::kMillisecond)
        ->UseRealTime();
  }
}

void AddAll() {
  const Shape s32k{32768, 32768}, s128k{131072, 131072};
  Add("causal_32768", [=] { return Mask::Causal(s32k); });
  Add("causal_and_local_131072", [=] { return Mask::Causal(s128k) & Mask::Local(s128k, 1024, 0); });
  // Made once, then kept: input that is already in memory.
  static const Mask* noisy = nullptr;
  Add("dense_32768", [] {
    if (noisy == nullptr) noisy = new Mask(NoisyCausal(32768));
    return *noisy;
  });
}

}  // namespace
}  // namespace splashmask

int main(int argc, char** argv) {
  splashmask::AddAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
