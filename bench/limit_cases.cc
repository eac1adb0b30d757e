// SPDX-License-Identifier: Apache-2.0
#include "bench/limit_cases.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

namespace splashmask {

namespace {

Mask PrefixOrCausal(Shape shape) { return Mask::Causal(shape) | Mask::Prefix(shape, 100000); }

Mask CausalDocuments(Shape shape, uint64_t seed = 1) {
  return Mask::Causal(shape) & Mask::Documents(shape, LogNormalDocuments(shape.q_len, seed));
}

Mask Leaf(std::mt19937_64& random, Shape shape) {
  const int64_t length = shape.q_len;
  switch (random() % 8) {
    case 0:
      return Mask::Causal(shape);
    case 1:
      return Mask::Local(shape, 4096, 0);
    case 2:
      return Mask::ChunkedCausal(shape, 8192);
    case 3:
      return PrefixOrCausal(shape);
    case 4:
      return Mask::Documents(shape, LogNormalDocuments(length, random() % 4));
    case 5:
      return Mask::QRange(shape, length / 5, length / 3 * 2);
    case 6:
      return Mask::KvRange(shape, length / 7, length / 2 + 1);
    default:
      return Mask::Stride(shape, 64, static_cast<int64_t>(random() % 64));
  }
}

Mask Combine(std::mt19937_64& random, const Mask& a, const Mask& b) {
  switch (random() % 5) {
    case 0:
      return a & b;
    case 1:
      return a | b;
    case 2:
      return a ^ b;
    case 3:
      return a - b;
    default:
      return ~a & b;
  }
}

// Four leaves, as ((a b) (c d)) or (((a b) c) d).
Mask Composition(uint64_t seed, Shape shape) {
  std::mt19937_64 random(seed);
  const Mask a = Leaf(random, shape), b = Leaf(random, shape);
  const Mask c = Leaf(random, shape), d = Leaf(random, shape);
  const Mask ab = Combine(random, a, b);
  if (random() % 2 == 0) {
    const Mask cd = Combine(random, c, d);
    return Combine(random, ab, cd);
  }
  const Mask abc = Combine(random, ab, c);
  return Combine(random, abc, d);
}

Positions ShuffledPieces(int64_t length, int64_t piece) {
  std::vector<int64_t> pieces(static_cast<size_t>(length / piece));
  std::iota(pieces.begin(), pieces.end(), 0);
  std::shuffle(pieces.begin(), pieces.end(), std::mt19937_64(3));
  std::vector<int32_t> positions;
  for (int64_t index : pieces) {
    for (int64_t i = 0; i < piece; ++i) {
      positions.push_back(static_cast<int32_t>(index * piece + i));
    }
  }
  return Positions::FromArray(Array::FromVector(positions));
}

// 64 heads that take turns among eight masks: each head shard has them all.
MultiHeadMask EightMasks(int64_t length) {
  const Shape shape{length, length};
  const std::vector<Mask> distinct = {Mask::Causal(shape),
                                      Mask::Local(shape, 4096, 0),
                                      Mask::ChunkedCausal(shape, 8192),
                                      PrefixOrCausal(shape),
                                      CausalDocuments(shape, 1),
                                      CausalDocuments(shape, 2),
                                      Mask::Local(shape, 1024, 0) | Mask::Prefix(shape, 700),
                                      Mask::Causal(shape) & Mask::Stride(shape, 64)};
  std::vector<Mask> heads;
  for (size_t head = 0; head < 64; ++head) heads.push_back(distinct[head % distinct.size()]);
  return MultiHeadMask(heads);
}

}  // namespace

std::vector<int64_t> LogNormalDocuments(int64_t length, uint64_t seed) {
  constexpr double kMean = 1500, kSigma = 1;
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> document(std::log(kMean) - kSigma * kSigma / 2, kSigma);
  std::vector<int64_t> lengths;
  for (int64_t left = length; left > 0; left -= lengths.back()) {
    lengths.push_back(std::min(left, 1 + static_cast<int64_t>(document(random))));
  }
  return lengths;
}

std::vector<LimitCase> LimitCases() {
  constexpr int64_t kMillion = int64_t{1} << 20;
  CompileOptions options;
  options.fwd = options.dkv = BlockShape{512, 512};
  std::vector<LimitCase> cases;
  const auto add = [&](std::string name, std::function<Mask(Shape)> mask, double times, double ms) {
    const auto make = [mask = std::move(mask)](int64_t length) {
      return MultiHeadMask(mask({length, length}), 1);
    };
    cases.push_back({std::move(name), make, kMillion, options, times, ms});
    return &cases.back();
  };
  const auto analytic = [&](std::string name, std::function<Mask(Shape)> mask, double ms) {
    LimitCase* added = add(std::move(name), std::move(mask), 3, ms);
    added->is_analytic = true;
    return added;
  };
  analytic(
      "causal", [](Shape s) { return Mask::Causal(s); }, 2);
  analytic(
      "local(4096, 0)", [](Shape s) { return Mask::Local(s, 4096, 0); }, 2);
  analytic(
      "chunked_causal(8192)", [](Shape s) { return Mask::ChunkedCausal(s, 8192); }, 2);
  analytic("prefix or causal", PrefixOrCausal, 2);
  analytic(
      "documents & causal", [](Shape s) { return CausalDocuments(s); }, 10)
      ->draws = true;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    analytic(
        "compositions of four", [seed](Shape s) { return Composition(seed, s); }, 50);
  }
  const Positions zigzag = Positions::Zigzag(64);
  add(
      "under zigzag(64) of q", [=](Shape s) { return CausalDocuments(s).Reorder(zigzag); }, 0, 300);
  add(
      "under zigzag(64) of q and kv",
      [=](Shape s) { return CausalDocuments(s).Reorder(zigzag, zigzag); }, 0, 300);
  add(
      "under shuffled pieces of 4096 of q",
      [](Shape s) { return CausalDocuments(s).Reorder(ShuffledPieces(s.q_len, 4096)); }, 0, 300);
  add(
      "under shuffled pieces of 4096 of q and kv",
      [](Shape s) {
        const Positions pieces = ShuffledPieces(s.q_len, 4096);
        return CausalDocuments(s).Reorder(pieces, pieces);
      },
      0, 300);
  options.plan.head_shards = 8;
  options.plan.q_seq_shards = 16;
  cases.push_back({"64 heads, 8 masks", EightMasks, 32768, options, 0, 50});
  return cases;
}

}  // namespace splashmask
