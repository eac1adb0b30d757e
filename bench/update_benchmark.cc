// SPDX-License-Identifier: Apache-2.0
// Time of UpdatePlan against the share of block rows that changed, beside a whole Compile in turns.
// Every updated plan is compared with the compiled one first.
//
//   update_benchmark [--runs N]

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/limit_cases.h"
#include "bench/timing.h"
#include "splashmask/masks/custom_function.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/update_plan.h"

namespace splashmask {
namespace {

struct UpdateCase {
  std::string name;
  int64_t length;
  /// The mask before, and the one of which about `share` of the rows changed or are new.
  std::function<Mask(int64_t length)> before;
  std::function<Mask(int64_t length, double share)> now;
};

// Documents of which those that begin in the last `share` of the tokens are cut elsewhere.
Mask Documents(int64_t length, double share) {
  std::vector<int64_t> lengths = LogNormalDocuments(length, 1);
  const auto kept = static_cast<int64_t>(static_cast<double>(length) * (1 - share));
  int64_t end = 0;
  for (int64_t& document : lengths) {
    end += document;
    if (end > kept && document > 1) --document;
  }
  const Shape shape{length, length};
  return Mask::Causal(shape) & Mask::Documents(shape, lengths);
}

// The last `share` of an ever longer sequence is new.
template <typename Make>
UpdateCase Growing(std::string name, int64_t length, const Make& make) {
  const auto of = [make](int64_t tokens) { return make(Shape{tokens, tokens}); };
  return {std::move(name), length, of, [of](int64_t tokens, double share) {
            constexpr int64_t kBlock = 512;
            const auto more = static_cast<int64_t>(static_cast<double>(tokens) * share) / kBlock;
            return of(tokens + more * kBlock);
          }};
}

std::vector<UpdateCase> Cases() {
  const auto pattern = [](int64_t q, int64_t kv) { return (q * q + 7 * kv) % 31 < 9; };
  return {
      {"causal & documents, some cut elsewhere", int64_t{1} << 20,
       [](int64_t length) { return Documents(length, 0); }, Documents},
      Growing("where of products, longer", 16384,
              [](Shape shape) { return Mask::Where(shape, "(q * q + 7 * kv) % 31 < 9"); }),
      Growing("a function of cells, longer", 8192,
              [function = std::make_shared<CellFunction>("pattern", pattern)](Shape shape) {
                return Mask::Custom(shape, function);
              }),
  };
}

int Run(int runs) {
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{512, 512};
  fmt::print(
      "| mask | block rows compiled | update | compile | share of it "
      "|\n|---|---:|---:|---:|---:|\n");
  for (const UpdateCase& c : Cases()) {
    const Plan before = Compile(MultiHeadMask(c.before(c.length), 1), options);
    for (const double share : {0.0, 1.0 / 64, 1.0 / 16, 1.0 / 4, 1.0}) {
      const MultiHeadMask now(c.now(c.length, share), 1);
      const PlanUpdate update = UpdatePlan(before, now);
      const Plan compiled = Compile(now, options);
      if (update.plan.fwd != compiled.fwd || update.plan.dkv != compiled.dkv) {
        fmt::print(stderr, "{}: the updated plan differs\n", c.name);
        return 1;
      }
      std::vector<double> updates, compiles;
      for (int run = 0; run < runs; ++run) {
        updates.push_back(Milliseconds([&] { UpdatePlan(before, now); }));
        compiles.push_back(Milliseconds([&] { Compile(now, options); }));
      }
      fmt::print("| {} | {} of {} | {:.2f} ms | {:.2f} ms | {:.2f} |\n", c.name, update.compiled,
                 update.block_rows, Median(updates), Median(compiles),
                 Median(updates) / Median(compiles));
    }
  }
  return 0;
}

}  // namespace
}  // namespace splashmask

int main(int argc, char** argv) {
  const bool has_runs = argc == 3 && std::string_view(argv[1]) == "--runs";
  return splashmask::Run(has_runs ? std::max(1, std::atoi(argv[2])) : 7);
}
