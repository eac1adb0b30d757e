// SPDX-License-Identifier: Apache-2.0
// Time of CompilePacked beside that of summing its input. Every case is checked before it is timed,
// block by block, against Compile, which knows segments as masks.
//
//   packed_benchmark [--benchmark_filter=...] [--benchmark_format=json]
//
// The last lines are the ratios of medians, on one and on two threads.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "splashmask/masks/parse.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/packed.h"

namespace splashmask {
namespace {

constexpr int64_t kBatch = 32;
constexpr int64_t kLength = 16384;
constexpr int64_t kBlock = 512;

struct Batch {
  std::vector<int32_t> ids;
  int64_t length;

  SegmentIds view() const { return {ids.data(), kBatch, length}; }
};

// Documents of log-normal lengths, mean about 1,500, numbered from 1; what is left over is padding.
Batch LogNormal(int64_t length) {
  constexpr double kMean = 1500, kSigma = 1;
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> document(std::log(kMean) - kSigma * kSigma / 2, kSigma);
  Batch batch{{}, length};
  for (int64_t i = 0; i < kBatch; ++i) {
    std::vector<int32_t> row(static_cast<size_t>(length), 0);
    int32_t id = 1;
    for (int64_t at = 0; at < length; ++id) {
      const int64_t end = at + 1 + static_cast<int64_t>(document(random));
      if (end > length) break;
      std::fill(row.begin() + at, row.begin() + end, id);
      at = end;
    }
    batch.ids.insert(batch.ids.end(), row.begin(), row.end());
  }
  return batch;
}

// Every token in any of 64 documents: the worst for run-length thinking.
Batch Scattered(int64_t length) {
  std::mt19937_64 random(2);
  Batch batch{{}, length};
  batch.ids.resize(static_cast<size_t>(kBatch * length));
  for (int32_t& id : batch.ids) id = static_cast<int32_t>(random() % 64);
  return batch;
}

PackedOptions Options(int threads) {
  PackedOptions options;
  options.fwd = {kBlock, kBlock};
  options.threads = threads;
  return options;
}

// Whether the tables hold exactly the blocks that Compile finds visible, and those of padding's
// diagonal.
bool IsRight(const Batch& batch, const Mask& mask) {
  const PackedTables tables = CompilePacked(batch.view(), mask, Options(2));
  const int64_t length = batch.length, blocks = length / kBlock;
  const int64_t width = tables.fwd.data_next.shape()[2], height = tables.dkv.data_next.shape()[1];
  for (int64_t i = 0; i < kBatch; ++i) {
    const std::span ids(batch.ids.data() + i * length, static_cast<size_t>(length));
    const Array array = Array::FromVector(ids);
    CompileOptions options;
    options.fwd = BlockShape{kBlock, kBlock};
    options.plan.shrink_grid = false;
    const MaskInfo expected =
        Compile(MultiHeadMask(mask & Mask::Segments({length, length}, array, array, 0), 1), options)
            .fwd->info;
    std::vector<uint8_t> fwd(static_cast<size_t>(blocks * blocks)), dkv = fwd;
    for (int64_t row = 0; row < blocks; ++row) {
      for (int64_t at = 0; at < width; ++at) {
        if (tables.fwd.block_mask.At(i, row, at) == 0) continue;
        fwd[row * blocks + tables.fwd.data_next.At(i, row, at)] = 1;
      }
    }
    for (int64_t at = 0; at < height; ++at) {
      for (int64_t column = 0; column < blocks; ++column) {
        if (tables.dkv.block_mask.At(i, at, column) == 0) continue;
        dkv[tables.dkv.data_next.At(i, at, column) * blocks + column] = 1;
      }
    }
    for (int64_t row = 0; row < blocks; ++row) {
      for (int64_t column = 0; column < blocks; ++column) {
        const auto tokens = ids.subspan(static_cast<size_t>(row * kBlock), kBlock);
        const bool padded =
            row == column && std::find(tokens.begin(), tokens.end(), 0) != tokens.end();
        const bool wanted = expected.block_mask->At(0, row, column) != 0 || padded;
        if (fwd[row * blocks + column] != wanted || dkv[row * blocks + column] != wanted) {
          return false;
        }
      }
    }
  }
  return true;
}

int64_t Sum(const std::vector<int32_t>& ids) {
  return std::accumulate(ids.begin(), ids.end(), int64_t{0});
}

void RunCompile(benchmark::State& state, const Batch& batch, const std::string& text, bool fused) {
  const Mask mask = ParseMask(text, {batch.length, batch.length});
  if (!IsRight(batch, mask)) {
    state.SkipWithError("the tables are wrong");
    return;
  }
  PackedOptions options = Options(static_cast<int>(state.range(0)));
  options.use_fused_bwd_kernel = fused;
  for (auto _ : state) benchmark::DoNotOptimize(CompilePacked(batch.view(), mask, options));
}

void AddAll() {
  using Made = std::shared_ptr<const Batch>;
  const auto in_runs = std::make_shared<const Batch>(LogNormal(kLength));
  const auto scattered = std::make_shared<const Batch>(Scattered(kLength));
  const auto add = [](const std::string& name, const Made& batch, const std::string& mask,
                      bool fused) {
    benchmark::RegisterBenchmark(
        name.c_str(), [=](benchmark::State& state) { RunCompile(state, *batch, mask, fused); })
        ->ArgName("threads")
        ->Arg(1)
        ->Arg(2)
        ->Unit(benchmark::kMicrosecond)
        ->UseRealTime();
  };
  benchmark::RegisterBenchmark("sum_of_ids",
                               [=](benchmark::State& state) {
                                 for (auto _ : state) benchmark::DoNotOptimize(Sum(in_runs->ids));
                               })
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
  add("in_runs/causal", in_runs, "causal()", false);
  add("in_runs/causal/fused", in_runs, "causal()", true);
  add("in_runs/local", in_runs, "causal() & local(1024, 0)", false);
  add("in_runs/strided", in_runs, "causal() & (local(128, 0) | stride(128))", false);
  add("scattered/causal", scattered, "causal()", false);
  add("scattered/strided", scattered, "causal() & (local(128, 0) | stride(128))", false);
}

// Median of interleaved runs, so that both see the same machine.
void PrintRatio() {
  const Batch batch = LogNormal(kLength);
  const Mask mask = Mask::Causal({kLength, kLength});
  const auto time = [](const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
        .count();
  };
  constexpr size_t kRuns = 401;
  for (int threads : {1, 2}) {
    const PackedOptions options = Options(threads);
    std::vector<double> sums, compiles;
    for (size_t i = 0; i < kRuns; ++i) {
      sums.push_back(time([&] { benchmark::DoNotOptimize(Sum(batch.ids)); }));
      compiles.push_back(
          time([&] { benchmark::DoNotOptimize(CompilePacked(batch.view(), mask, options)); }));
    }
    const auto median = [](std::vector<double>& times) {
      std::nth_element(times.begin(), times.begin() + kRuns / 2, times.end());
      return times[kRuns / 2];
    };
    const double sum = median(sums), compile = median(compiles);
    fmt::print("{} thread{}: CompilePacked {:.0f} us, sum of the ids {:.0f} us: ratio {:.2f}\n",
               threads, threads == 1 ? "" : "s", compile, sum, compile / sum);
  }
}

}  // namespace
}  // namespace splashmask

int main(int argc, char** argv) {
  splashmask::AddAll();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  splashmask::PrintRatio();
  return 0;
}
