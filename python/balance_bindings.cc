// SPDX-License-Identifier: Apache-2.0
// balance: q positions dealt to shards.

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "splashmask/planner/compile/q_block_work.h"
#include "splashmask/planner/compile/seen_kv.h"
#include "splashmask/planner/cost/balance.h"
#include "splashmask/python/interruptible.h"
#include "splashmask/python/mask_object.h"
#include "splashmask/python/numpy.h"

namespace splashmask::python {

namespace {

// int64[rows, columns], from all of its elements.
nb::object ToMatrix(std::vector<int64_t> elements, int64_t columns) {
  const auto shared = std::make_shared<std::vector<int64_t>>(std::move(elements));
  const int64_t rows = std::ssize(*shared) / columns;
  return ToNumpy(
      Array(DType::kInt64, {rows, columns}, std::shared_ptr<const void>(shared, shared->data())));
}

nb::object ToMatrix(const std::vector<PartWork>& works, std::vector<int64_t> PartWork::*unit) {
  std::vector<int64_t> elements;
  for (const PartWork& work : works) {
    elements.insert(elements.end(), (work.*unit).begin(), (work.*unit).end());
  }
  const int64_t columns = std::ssize(works.front().*unit);
  return ToMatrix(std::move(elements), columns);
}

nb::list ToList(const std::vector<PositionRanges>& of_shards) {
  nb::list result;
  for (const PositionRanges& ranges : of_shards) {
    std::vector<int64_t> elements;
    for (const auto& [begin, end] : ranges) elements.insert(elements.end(), {begin, end});
    result.append(ToMatrix(std::move(elements), 2));
  }
  return result;
}

struct Answer {
  ShardBalance before, balance;
  std::vector<std::vector<PositionRanges>> kv_ranges;  // [masks][shards]
};

nb::dict Balance(const std::vector<std::vector<const MaskObject*>>& masks,
                 const std::vector<int64_t>& weights, int64_t shards, const std::string& method,
                 const std::string& unit, int64_t block_q, int64_t block_kv, int threads) {
  const BalanceOptions options{shards, block_q, WorkUnitFromName(unit)};
  const BalanceMethod wanted = BalanceMethodFromName(method);
  std::vector<WeightedMask> weighted;
  for (size_t i = 0; i < masks.size(); ++i) {
    weighted.push_back({ToMultiHeadMask(masks[i]), weights[i]});
  }
  const Answer answer = RunInterruptibly([&](const Progress& progress) {
    const ShardBalancer balancer(weighted, options, [&](const MultiHeadMask& mask) {
      return MeasureQBlocks(mask, {block_q, block_kv}, threads, progress);
    });
    Answer result{balancer.Balance(BalanceMethod::kContiguous), balancer.Balance(wanted), {}};
    for (const auto& [mask, weight] : weighted) {
      result.kv_ranges.push_back(
          SeenKvRanges(result.balance.Reorder(mask), shards, threads, progress));
    }
    return result;
  });

  const auto& [before, balance, kv_ranges] = answer;
  nb::list of_masks;
  for (const auto& of_mask : kv_ranges) of_masks.append(ToList(of_mask));
  nb::dict result;
  result["permutation"] = ToNumpy(balance.permutation);
  result["inverse"] = ToNumpy(balance.inverse);
  result["pairs"] = ToMatrix(balance.of_masks, &PartWork::pairs);
  result["blocks"] = ToMatrix(balance.of_masks, &PartWork::blocks);
  result["work"] = ToNumpy(Array::FromVector(balance.work(options.unit)));
  result["imbalance"] = Imbalance(balance.work(options.unit));
  result["imbalance_before"] = Imbalance(before.work(options.unit));
  result["kv_ranges"] = of_masks;
  return result;
}

}  // namespace

void BindBalance(nb::module_& m) {
  m.def("balance", &Balance, nb::arg("masks"), nb::arg("weights"), nb::kw_only(), nb::arg("shards"),
        nb::arg("method"), nb::arg("unit"), nb::arg("block_q"), nb::arg("block_kv"),
        nb::arg("threads"),
        "The fields of a ShardBalance; masks are lists of one a head, with a weight each.");
}

}  // namespace splashmask::python
