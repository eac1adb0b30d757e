// SPDX-License-Identifier: Apache-2.0
// Compiles a fixed set of masks and certifies each plan. Exits 0 when all are proven, 1 at the
// first mismatch, which it prints, and 2 when the library threw.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"
#include "splashmask/masks/mask.h"
#include "splashmask/planner/certify/certify.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/tokamax.h"
#include "tests/support/random_case.h"

namespace splashmask {
namespace {

constexpr uint64_t kRandomCases = 3000;

bool HasNoMismatch(const char* name, uint64_t number, const Certificate& certificate) {
  if (!certificate.mismatch) return true;
  std::printf("%s %llu: %s\n", name, static_cast<unsigned long long>(number),
              certificate.mismatch->ToString().c_str());
  return false;
}

bool Proven(const char* name, uint64_t number, const MultiHeadMask& mask, CompileOptions options) {
  options.threads = 1;
  const Certificate certificate = Certify(Compile(mask, options), {.threads = 1});
  if (!HasNoMismatch(name, number, certificate)) return false;
  EmptyRanges empty_rows;
  for (const EmptyLines& lines : certificate.empty) {
    if (lines.head == 0) empty_rows = lines.rows;
  }
  if (EmptyRows(mask.masks().front(), 1) != empty_rows) {
    std::printf("%s %llu: EmptyRows differs from the certificate\n", name,
                static_cast<unsigned long long>(number));
    return false;
  }
  return true;
}

// Every row next to rows from elsewhere: no rectangle of rows has a class, so runs are read.
Positions Scattered(Shape shape) {
  std::vector<int64_t> positions;
  for (int64_t row = 0; row < shape.q_len; ++row) positions.push_back(row * 769 % shape.q_len);
  return Positions::FromArray(Array::FromVector(positions));
}

// Random cases are small; these have rows of many blocks, and blocks of many words.
bool LargeCasesProven() {
  const Shape shape{1536, 2048};
  std::vector<Mask> masks = {
      Mask::Full(shape),
      Mask::Causal(shape, 300) & Mask::Local(shape, 500, 100),
      (Mask::Causal(shape) | Mask::Prefix(shape, 200)) - Mask::Stride(shape, 64, 3),
      Mask::Documents(shape, {100, 0, 700, 300}) ^ Mask::KvRange(shape, 90, 130),
      (Mask::ChunkedCausal(shape, 250) | Mask::QRange(shape, 1000, 1100))
          .Reorder(Positions::Zigzag(4)),
      ~Mask::Causal(shape).Reorder(Positions::Striped(8)),
      (Mask::KvRange(shape, 1, 2048) & Mask::Local(shape, 700, 0)).Reorder(Scattered(shape)),
      (~Mask::KvRange(shape, 100, 101)).Reorder(Scattered(shape)),
      (Mask::KvRange(shape, 64, 640) - Mask::KvRange(shape, 512, 513)).Reorder(Scattered(shape)),
      (Mask::Local(shape, 100, 0) ^ Mask::Prefix(shape, 256)).Reorder(Scattered(shape)),
  };
  for (const char* predicate :
       {"q >= kv and (q - kv) % 192 < 100", "abs(q // 32 - kv // 32) <= 2 and q % 7 != kv % 5",
        "(q - kv) // 300 == -1 or kv // 100 == 3", "q * 3 // (kv + 1) <= 2 and q * kv % 11 < 4"}) {
    masks.push_back(Mask::Where(shape, predicate));
    masks.push_back(Mask::Where(shape, predicate).Reorder(Scattered(shape), Positions::Zigzag(4)));
  }
  std::vector<int64_t> backwards;
  for (int64_t c = 0; c < shape.kv_len; ++c) backwards.push_back(c < 1000 ? 999 - c : c);
  for (const Positions& kv :
       {Positions::FromArray(Array::FromVector(backwards)), Positions::Striped(16)}) {
    masks.push_back(Mask::Causal(shape, 200).Reorder(std::nullopt, kv));
    masks.push_back(
        (Mask::Local(shape, 300, 40) | Mask::Stride(shape, 70)).Reorder(std::nullopt, kv));
  }
  // A dense mask of whole blocks, and of blocks that are partial in some rows alone.
  std::vector<uint8_t> cells(static_cast<size_t>(shape.q_len * shape.kv_len));
  for (int64_t q = 0; q < shape.q_len; ++q) {
    std::fill_n(cells.begin() + q * shape.kv_len, q - q % 100, uint8_t{1});
  }
  masks.push_back(
      Mask::Dense(shape, Array(DType::kBool, {shape.q_len, shape.kv_len},
                               std::shared_ptr<const void>(cells.data(), [](auto) {}))));
  masks.push_back(masks.back() ^ Mask::Causal(shape, 900));
  std::mt19937_64 random(1);
  while (masks.size() < 62) {
    masks.push_back(RandomMask(random, shape, 2).Reorder(Scattered(shape)));
  }
  uint64_t number = 0;
  for (const Mask& mask : masks) {
    for (const BlockShape block : {BlockShape{128, 128}, BlockShape{256, 16}}) {
      CompileOptions options;
      options.fwd = options.dq = options.dkv = block;
      if (!Proven("large case", number++, MultiHeadMask(mask, 2), options)) return false;
    }
  }
  return true;
}

bool RandomCasesProven() {
  for (uint64_t seed = 0; seed < kRandomCases; ++seed) {
    RandomCase random_case = MakeRandomCase(seed);
    if (!Proven("random case", seed, random_case.mask, random_case.options)) return false;
  }
  return true;
}

// Masks of few distinct operands, which occur again and again, simplified.
bool SimplifiedCasesProven() {
  const Shape shape{24, 48};
  std::mt19937_64 random(3);
  for (uint64_t number = 0; number < kRandomCases; ++number) {
    std::vector<Mask> masks;
    for (int i = 0; i < 3; ++i) masks.push_back(RandomMask(random, shape, 1));
    for (int i = 0; i < 5; ++i) {
      const Mask a = masks[random() % masks.size()], b = masks[random() % masks.size()];
      const uint64_t kind = random() % 4;
      masks.push_back(kind == 0 ? a & b : kind == 1 ? a | b : kind == 2 ? a ^ b : a - b);
    }
    CompileOptions options;
    options.fwd = options.dkv = BlockShape{8, 6};
    options.plan.simplify = true;
    const MultiHeadMask heads({masks.back(), masks[random() % masks.size()]});
    if (!Proven("simplified case", number, heads, options)) return false;
  }
  return true;
}

bool TokamaxCasesProven() {
  const Shape shape{24, 48};
  std::mt19937_64 random(2);
  for (uint64_t number = 0; number < kRandomCases; ++number) {
    const Mask mask = RandomMask(random, shape, static_cast<int>(random() % 3));
    Plan plan{MultiHeadMask(mask, 1), {}, {}, {}, {}};
    TokamaxOptions options;
    options.threads = 1;
    options.block = {random() % 2 ? 2 : 4, random() % 2 ? 3 : 8};
    options.q_seq_shards = random() % 2 ? 1 : 3;
    options.kv_seq_shards = random() % 2 ? 1 : 2;
    options.simplify = random() % 4 == 0;
    options.return_dynamic_grid = random() % 3 != 0;
    plan.tokamax_fwd = CompileTokamax(mask, options);
    options.is_dkv = true;
    plan.tokamax_dkv = CompileTokamax(mask, options);
    if (!HasNoMismatch("tokamax case", number, Certify(plan, {.threads = 1}))) return false;
  }
  return true;
}

}  // namespace
}  // namespace splashmask

int main() {
  try {
    using namespace splashmask;
    return RandomCasesProven() && SimplifiedCasesProven() && TokamaxCasesProven() &&
                   LargeCasesProven()
               ? 0
               : 1;
  } catch (const splashmask::Error& error) {
    std::printf("%s\n", error.what());
    return 2;
  }
}
