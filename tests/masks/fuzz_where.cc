// SPDX-License-Identifier: Apache-2.0
// libFuzzer: any bytes as a predicate. It is refused with an Error, or what intervals, keys, runs
// and bits say of its rectangles is what its cells say.

#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>
#include <string>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/where/predicate.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_predicate.h"

namespace splashmask {
namespace {

void Expect(bool condition) {
  if (!condition) std::abort();
}

RectClass ClassOf(const Mask& mask, const Rows& rows, KvRange kv) {
  bool any = false, all = true;
  for (int64_t q = rows.first; q <= rows.last(); ++q) {
    for (int64_t c = kv.begin; c < kv.end; ++c) {
      const bool cell = NaiveAt(mask, q, c);
      any |= cell;
      all &= cell;
    }
  }
  return !any ? RectClass::kEmpty : all ? RectClass::kFull : RectClass::kPartial;
}

void CheckRectangles(const Mask& mask, std::mt19937_64& random) {
  const auto analysis = Analyze(mask);
  const auto [q_len, kv_len] = mask.shape();
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  constexpr int64_t kRows = 3, kColumns = 4;
  std::map<RectKey, std::string> content;
  for (int i = 0; i < 40; ++i) {
    const int64_t q = below(q_len), kv = below(kv_len);
    const Rows rows{q, 1 + below(q_len - q), 1};
    const KvRange columns{kv, kv + 1 + below(kv_len - kv)};
    const RectClass found = analysis->Classify(rows, columns);
    Expect(found == RectClass::kUnknown || found == ClassOf(mask, rows, columns));

    std::vector<uint64_t> words(static_cast<size_t>(WordsFor(columns.size())));
    analysis->Draw({&q, 1}, columns, {words.data(), WordsFor(columns.size())});
    Runs runs;
    analysis->ReadRuns(q, columns, &runs);
    size_t run = 0;
    for (int64_t c = columns.begin; c < columns.end; ++c) {
      const int64_t bit = c - columns.begin;
      while (run < runs.size() && runs[run].end <= c) ++run;
      const bool cell = NaiveAt(mask, q, c);
      Expect(cell == ((words[bit / 64] >> (bit % 64) & 1) != 0));
      Expect(cell == (run < runs.size() && runs[run].begin <= c));
    }

    // Rectangles of one size and key hold the same cells.
    if (q + kRows > q_len || kv + kColumns > kv_len) continue;
    RectKey key;
    if (!analysis->AppendKey({q, kRows, 1}, {kv, kv + kColumns}, &key)) continue;
    std::string cells;
    for (int64_t r = q; r < q + kRows; ++r) {
      for (int64_t c = kv; c < kv + kColumns; ++c) cells += NaiveAt(mask, r, c) ? '1' : '0';
    }
    Expect(content.try_emplace(key, cells).first->second == cells);
  }
}

void Check(const std::string& text, std::mt19937_64& random) {
  try {
    const Predicate predicate = Predicate::Parse(text);
    Expect(Predicate::Parse(predicate.text()) == predicate);
    constexpr size_t kMostOperations = 60;  // The cells are evaluated one by one, without sharing.
    if (predicate.nodes().size() > kMostOperations || text.size() > 300) return;
    const Shape shape{1 + static_cast<int64_t>(random() % 40),
                      1 + static_cast<int64_t>(random() % 90)};
    CheckRectangles(Mask::Where(shape, predicate), random);
  } catch (const Error& error) {
    Expect(error.code() == ErrorCode::kSyntax || error.code() == ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace splashmask

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  std::seed_seq seed(bytes.begin(), bytes.end());
  std::mt19937_64 random(seed);
  // The bytes themselves, or a predicate that they choose.
  splashmask::Check(data[0] % 2 == 0 ? bytes : splashmask::RandomPredicate(random, data[0] / 2 % 5),
                    random);
  return 0;
}
