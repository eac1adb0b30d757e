// SPDX-License-Identifier: Apache-2.0
#include "bench/dense_limit.h"

#include <fmt/format.h>
#include <hwy/highway.h>
#include <tbb/blocked_range.h>
#include <tbb/parallel_reduce.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <stdexcept>
#include <vector>

#include "bench/check_plan.h"
#include "bench/limit_cases.h"
#include "bench/memory_use.h"
#include "bench/timing.h"
#include "splashmask/io/arrays.h"
#include "splashmask/planner/compile/compile.h"

namespace splashmask {

namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kLength = 65536;

// Adds bytes up, eight to a 64-bit lane, in four chains.
uint64_t SumBytes(const uint8_t* bytes, int64_t count) {
  const hn::ScalableTag<uint8_t> d;
  const hn::ScalableTag<uint64_t> wide;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a = hn::Zero(wide), b = a, c = a, e = a;
  int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a = hn::Add(a, hn::SumsOf8(hn::LoadU(d, bytes + i)));
    b = hn::Add(b, hn::SumsOf8(hn::LoadU(d, bytes + i + lanes)));
    c = hn::Add(c, hn::SumsOf8(hn::LoadU(d, bytes + i + 2 * lanes)));
    e = hn::Add(e, hn::SumsOf8(hn::LoadU(d, bytes + i + 3 * lanes)));
  }
  uint64_t sum = hn::GetLane(hn::SumOfLanes(wide, hn::Add(hn::Add(a, b), hn::Add(c, e))));
  for (; i < count; ++i) sum += bytes[i];
  return sum;
}

uint64_t ParallelSum(const std::byte* bytes, int64_t count) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  return tbb::parallel_reduce(
      tbb::blocked_range<int64_t>(0, count, kPiece), uint64_t{0},
      [&](const tbb::blocked_range<int64_t>& range, uint64_t sum) {
        return sum + SumBytes(reinterpret_cast<const uint8_t*>(bytes) + range.begin(),
                              range.end() - range.begin());
      },
      std::plus<>());
}

// Writes bool[kLength, kLength] row by row, as numpy.save does.
template <typename FillRow>
void WriteNpy(const std::string& path, const FillRow& fill_row) {
  std::string header = fmt::format(
      "{{'descr': '|b1', 'fortran_order': False, 'shape': ({}, {}), }}", kLength, kLength);
  header.append(128 - 10 - 1 - header.size(), ' ');
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00\x76\x00", 10);
  file << header;
  std::vector<uint8_t> row(kLength);
  for (int64_t q = 0; q < kLength && file; ++q) {
    fill_row(q, row);
    file.write(reinterpret_cast<const char*>(row.data()), kLength);
  }
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path);
}

// Causal inside documents.
void WriteDocuments(const std::string& path) {
  const std::vector<int64_t> lengths = LogNormalDocuments(kLength, 1);
  size_t document = 0;
  int64_t begin = 0;
  WriteNpy(path, [&](int64_t q, std::vector<uint8_t>& row) {
    while (q >= begin + lengths[document]) begin += lengths[document++];
    std::fill(row.begin(), row.end(), uint8_t{0});
    std::fill(row.begin() + begin, row.begin() + q + 1, uint8_t{1});
  });
}

// Every cell a coin: every block is partial and unlike the others.
void WriteNoise(const std::string& path) {
  std::mt19937_64 random(1);
  WriteNpy(path, [&](int64_t, std::vector<uint8_t>& row) {
    for (size_t c = 0; c < row.size(); c += 64) {
      const uint64_t word = random();
      for (size_t bit = 0; bit < 64; ++bit) row[c + bit] = word >> bit & 1;
    }
  });
}

void RunOne(const std::string& name, const std::string& path, int runs) {
  const Array array = ReadNpy(path);
  const MultiHeadMask mask(Mask::Dense({kLength, kLength}, array), 1);
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{512, 512};
  const uint64_t expected = ParallelSum(array.data(), array.size_bytes());  // All is mapped now.
  const auto check = [&](uint64_t sum) {
    if (sum != expected) throw std::runtime_error(name + ": two sums differ");
  };

  ResetPeakMemory();
  const int64_t before = ResidentMemory();
  std::optional<Plan> plan = Compile(mask, options);
  const int64_t extra = PeakMemory() - before - OutputBytes(*plan);
  const double output = static_cast<double>(OutputBytes(*plan)) / (1 << 20);
  const std::string wrong = CheckEveryCell(*plan);
  if (!wrong.empty()) throw std::runtime_error(name + ": " + wrong);

  std::vector<double> compiles, one_thread, sums, one_sums;
  for (int run = 0; run < runs; ++run) {
    for (int threads : {0, 1}) {
      plan.reset();
      options.threads = threads;
      (threads == 0 ? compiles : one_thread).push_back(Milliseconds([&] {
        plan = Compile(mask, options);
      }));
    }
    sums.push_back(Milliseconds([&] { check(ParallelSum(array.data(), array.size_bytes())); }));
    one_sums.push_back(Milliseconds([&] {
      check(SumBytes(reinterpret_cast<const uint8_t*>(array.data()), array.size_bytes()));
    }));
  }
  const double rate = static_cast<double>(array.size_bytes()) / 1e6;
  fmt::print(
      "| {} | {:.1f} ms ({:.1f}) | sum {:.1f} ms ({:.1f}) | {:.1f} ms | {:.2f} | {:.0f} + "
      "{:.0f} MiB | {:.1f} GB/s, sum {:.1f} GB/s: {:.0f} % | {:.1f} ms: {:.2f} ({:.2f}) |\n",
      name, Median(compiles), Fastest(compiles), Median(sums), Fastest(sums), Median(sums) / 0.8,
      Median(compiles) / (Median(sums) / 0.8), output,
      std::max(0.0, static_cast<double>(extra) / (1 << 20)), rate / Median(compiles),
      rate / Median(sums), 100 * Median(sums) / Median(compiles), Fastest(one_thread),
      MedianRatio(one_thread, compiles), MedianRatio(one_sums, sums));
  std::fflush(stdout);
}

}  // namespace

void RunDenseLimit(const std::string& directory, int runs) {
  const auto run = [&](const std::string& name, void (*write)(const std::string&)) {
    const std::string path = directory + "/splashmask_dense_" + name + ".npy";
    if (!std::filesystem::exists(path)) {
      write(path + ".part");
      std::filesystem::rename(path + ".part", path);
    }
    RunOne("dense, " + name, path, runs);
  };
  run("documents", WriteDocuments);
  run("noise", WriteNoise);
}

}  // namespace splashmask
