// SPDX-License-Identifier: Apache-2.0
// Time of Compile beside the time to write its answer, and its memory: a million positions, block
// 512, fwd and dkv together. Every mask is checked before it is timed. Medians are held against
// what is allowed; growth is told from each compile and the write after it. What one thread takes,
// of the time of all, stands beside the same ratio of *write*, which is what the machine gives, and
// beside how many processors were busy meanwhile.
//
//   compile_limits [part of a row's name]... [--runs N] [--scratch DIR]
//
// The row "dense" needs 4 GiB in DIR, kept for the next time.

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/check_plan.h"
#include "bench/dense_limit.h"
#include "bench/limit_cases.h"
#include "bench/memory_use.h"
#include "bench/timing.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/memory.h"

namespace splashmask {
namespace {

// *write*: allocates what a plan holds, and writes it once, in pieces by all threads or as a whole.
double TimeWrite(const std::vector<int64_t>& sizes, bool all_threads) {
  std::vector<std::shared_ptr<std::byte>> memory;
  memory.reserve(sizes.size());
  return Milliseconds([&] {
    for (int64_t size : sizes) {
      memory.push_back(AllocateBytes(size));
      const int64_t piece = all_threads ? int64_t{2} << 20 : std::max(size, int64_t{1});
      tbb::parallel_for(int64_t{0}, size, piece, [&](int64_t begin) {
        std::memset(memory.back().get() + begin, 1,
                    static_cast<size_t>(std::min(piece, size - begin)));
      });
    }
  });
}

struct Measured {
  double compile_ms, write_ms;  // Medians.
  double fastest_compile_ms, fastest_one_thread_ms, fastest_write_ms;
  double beyond_ms;         // Of a compile, beyond the write that follows it.
  double gain, write_gain;  // One thread takes, of the time of all.
  double busy;              // Processors, while all threads compile.
  double peak_mib;          // Beyond input and output.
  double packed_mib;
  double output_mib;
};

double MiB(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

Measured Measure(const MultiHeadMask& mask, CompileOptions options, int runs) {
  ResetPeakMemory();
  const int64_t before = ResidentMemory();
  std::vector<int64_t> sizes;
  Measured result{};
  {
    const Plan plan = Compile(mask, options);
    const int64_t peak = PeakMemory();
    sizes = OutputSizes(plan);
    result.output_mib = MiB(OutputBytes(plan));
    result.peak_mib = std::max(0.0, MiB(peak - before) - result.output_mib);
    for (Pass pass : kAllPasses) {
      if (plan.pass(pass) && plan.pass(pass)->info.partial_mask_blocks) {
        result.packed_mib += MiB(plan.pass(pass)->info.partial_mask_blocks->size_bytes());
      }
    }
  }
  std::vector<double> compiles, one_thread, writes, all_write, busy, beyond;
  for (int run = 0; run < runs; ++run) {
    for (int threads : {0, 1}) {
      options.threads = threads;
      std::optional<Plan> plan;
      const std::clock_t used = std::clock();
      const double ms = Milliseconds([&] { plan = Compile(mask, options); });
      (threads == 0 ? compiles : one_thread).push_back(ms);
      if (threads == 0) {
        busy.push_back(1e3 * static_cast<double>(std::clock() - used) / CLOCKS_PER_SEC / ms);
      }
      plan.reset();
      (threads == 0 ? writes : all_write).push_back(TimeWrite(sizes, threads != 0));
    }
    beyond.push_back(compiles.back() - writes.back());
  }
  result.compile_ms = Median(compiles);
  result.fastest_compile_ms = Fastest(compiles);
  result.fastest_one_thread_ms = Fastest(one_thread);
  result.fastest_write_ms = Fastest(writes);
  result.beyond_ms = Median(beyond);
  result.write_ms = Median(writes);
  result.gain = MedianRatio(one_thread, compiles);
  result.write_gain = MedianRatio(writes, all_write);
  result.busy = Median(busy);
  return result;
}

std::string Check(const LimitCase& limit) {
  constexpr int64_t kCertified = 16384;
  constexpr int64_t kSampled = 200;
  std::string wrong =
      CheckEveryCell(Compile(limit.make(std::min(limit.length, kCertified)), limit.options));
  if (wrong.empty()) {
    wrong = CheckSamples(Compile(limit.make(limit.length), limit.options), kSampled);
  }
  return wrong;
}

// How the time beyond write grows: the exponent of a power of the length, from the best fit in
// logarithms over a quarter, half and all of it.
std::string Growth(const LimitCase& limit, const Measured& whole, int runs) {
  if (!limit.is_analytic) return "";
  const double lengths[] = {-2, -1, 0};
  double beyond[3] = {0, 0, whole.beyond_ms};
  for (int i = 0; i < 2; ++i) {
    const MultiHeadMask mask = limit.make(limit.length >> (2 - i));
    beyond[i] = Measure(mask, limit.options, runs).beyond_ms;
  }
  std::string text = fmt::format("{:.2f} {:.2f} {:.2f} ms", beyond[0], beyond[1], beyond[2]);
  if (*std::min_element(beyond, beyond + 3) <= 0) return text;
  double slope = 0;
  for (int i = 0; i < 3; ++i) slope += (lengths[i] + 1) * std::log2(beyond[i]) / 2;
  return text + fmt::format(": S^{:.2f}", slope);
}

struct Row {
  double share = -1;  // Of the allowed time.
  std::string text;
};

// Checks and measures one case; a row's text, or what is wrong with it.
Row MakeRow(const LimitCase& limit, int runs) {
  const std::string wrong = Check(limit);
  if (!wrong.empty()) throw std::runtime_error(limit.name + ": " + wrong);
  const MultiHeadMask mask = limit.make(limit.length);
  const Measured m = Measure(mask, limit.options, runs);
  const double allowed = limit.write_times * m.write_ms + limit.milliseconds;
  Row row;
  row.share = m.compile_ms / allowed;
  std::string bound = fmt::format("{:.1f} ms", allowed);
  row.text = fmt::format(
      "| {} | {:.2f} ms ({:.2f}) | {:.2f} ms ({:.2f}) | {} | {:.2f} | {:.0f} + {:.0f} MiB | {} | "
      "{:.2f} ms: {:.2f} ({:.2f}), {:.2f} busy |",
      limit.name, m.compile_ms, m.fastest_compile_ms, m.write_ms, m.fastest_write_ms, bound,
      row.share, m.output_mib, m.peak_mib, Growth(limit, m, runs), m.fastest_one_thread_ms, m.gain,
      m.write_gain, m.busy);
  if (limit.draws) {
    // As if nothing but drawing took any time.
    row.text += fmt::format(
        "\n  {:.0f} MiB of packed bits: compiled at {:.1f} GB/s on two threads, "
        "{:.1f} on one, written at {:.1f}: {:.0f} % and {:.0f} % of memset",
        m.packed_mib, m.packed_mib * 1.048576 / m.compile_ms,
        m.packed_mib * 1.048576 / m.fastest_one_thread_ms, m.output_mib * 1.048576 / m.write_ms,
        100 * m.write_ms * m.packed_mib / m.output_mib / m.compile_ms,
        100 * m.write_ms * m.packed_mib / m.output_mib / m.fastest_one_thread_ms);
  }
  return row;
}

struct Arguments {
  std::vector<std::string> names;
  int runs = 9;
  std::string scratch = "/tmp";

  bool Wants(const std::string& name) const {
    return names.empty() || std::any_of(names.begin(), names.end(), [&](const auto& part) {
             return name.find(part) != std::string::npos;
           });
  }
};

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view text = argv[i];
    if (text == "--runs" && i + 1 < argc) {
      arguments.runs = std::max(1, std::atoi(argv[++i]));
    } else if (text == "--scratch" && i + 1 < argc) {
      arguments.scratch = argv[++i];
    } else {
      arguments.names.emplace_back(text);
    }
  }
  return arguments;
}

void Run(const Arguments& arguments) {
  fmt::print(
      "| mask | compile (fastest) | write (fastest) | allowed | share of it | output + beyond | "
      "time beyond write at S/4, S/2, S | one thread: of all (write), processors busy |\n"
      "|---|---:|---:|---:|---:|---:|---|---:|\n");
  const std::vector<LimitCase> cases = LimitCases();
  for (size_t i = 0; i < cases.size();) {
    const std::string& name = cases[i].name;
    Row worst;
    size_t worst_case = i;
    const size_t first = i;
    for (; i < cases.size() && cases[i].name == name; ++i) {
      if (!arguments.Wants(name)) continue;
      Row row = MakeRow(cases[i], arguments.runs);
      if (row.share > worst.share) {
        worst = std::move(row);
        worst_case = i;
      }
    }
    if (worst.share < 0) continue;
    fmt::print("{}\n", worst.text);
    if (i - first > 1) {
      const std::string text = ToString(cases[worst_case].make(2048).masks()[0]);
      fmt::print("  the worst of {}: number {}, {} (at 2,048)\n", i - first, worst_case - first,
                 text);
    }
    std::fflush(stdout);
  }
  if (arguments.Wants("dense")) RunDenseLimit(arguments.scratch, arguments.runs);
}

}  // namespace
}  // namespace splashmask

int main(int argc, char** argv) {
  try {
    splashmask::Run(splashmask::Parse(argc, argv));
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
  return 0;
}
