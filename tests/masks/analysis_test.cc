// SPDX-License-Identifier: Apache-2.0
// Classes, keys, runs and bits of every rectangle of many small masks, against single cells.

#include "splashmask/masks/analysis/analysis.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <string>

#include "splashmask/masks/print.h"
#include "tests/support/naive_mask.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"

namespace splashmask {
namespace {

// All masks of the exhaustive part: every leaf with every parameter near the shape.
std::vector<Mask> SmallLeaves(Shape shape) {
  std::vector<Mask> masks = {Mask::Full(shape), Mask::Empty(shape)};
  const int64_t longest = std::max(shape.q_len, shape.kv_len) + 2;
  for (int64_t a = -longest; a <= longest; ++a) {
    masks.push_back(Mask::Causal(shape, a));
    masks.push_back(Mask::Prefix(shape, a));
    for (int64_t b = a; b <= longest; b += 3) {
      masks.push_back(Mask::QRange(shape, a, b));
      masks.push_back(Mask::KvRange(shape, a, b));
    }
  }
  for (int64_t left = -3; left <= 5; ++left) {
    for (int64_t offset : {-7, -1, 0, 2, 9}) {
      masks.push_back(Mask::Local(shape, left, std::nullopt, offset));
      masks.push_back(Mask::Local(shape, std::nullopt, left, offset));
      for (int64_t right : {-4, -1, 0, 2}) masks.push_back(Mask::Local(shape, left, right, offset));
    }
  }
  masks.push_back(Mask::Local(shape, std::nullopt, std::nullopt));
  for (int64_t step = 1; step <= longest; ++step) {
    masks.push_back(Mask::ChunkedCausal(shape, step));
    for (int64_t phase = 0; phase < step; ++phase) {
      masks.push_back(Mask::Stride(shape, step, phase));
    }
  }
  const int64_t shortest = std::min(shape.q_len, shape.kv_len);
  for (int64_t a = 0; a <= shortest; ++a) {
    for (int64_t b = 0; a + b <= shortest; ++b) {
      masks.push_back(Mask::Documents(shape, {a, b}));
      if (a + b < shortest) masks.push_back(Mask::Documents(shape, {a, 0, 1, b}));
    }
  }
  return masks;
}

// 0, step, 2 * step, ... around the length, in two stretches that are far apart for an odd step.
std::vector<int64_t> Strided(int64_t length, int64_t step) {
  std::vector<int64_t> positions;
  for (int64_t r = 0; r < length; ++r) {
    const int64_t wrapped = ((r % 6) * step % 12 + 12) % 12;
    positions.push_back(wrapped + (r >= 6 ? 100 * (step % 2) : 0));
  }
  return positions;
}

RectClass ClassOf(const std::vector<uint8_t>& cells, Shape shape, const Rows& rows, KvRange kv) {
  bool any = false, all = true;
  for (int64_t q = rows.first; q <= rows.last(); ++q) {
    for (int64_t c = kv.begin; c < kv.end; ++c) {
      const bool cell = cells[q * shape.kv_len + c] != 0;
      any |= cell;
      all &= cell;
    }
  }
  return !any ? RectClass::kEmpty : all ? RectClass::kFull : RectClass::kPartial;
}

std::string CellsOf(const std::vector<uint8_t>& cells, Shape shape, const Rows& rows, KvRange kv) {
  std::string text;
  for (int64_t q = rows.first; q <= rows.last(); ++q) {
    for (int64_t c = kv.begin; c < kv.end; ++c) text += cells[q * shape.kv_len + c] ? '1' : '0';
  }
  return text;
}

struct Checked {
  int64_t known = 0, unknown = 0, keyed = 0, keyless = 0, repeating = 0;
};

// Cuts a rectangle into tiles of every size that divides it, which are said to be alike.
void CheckRepeats(const Analysis& analysis, const std::vector<uint8_t>& cells, const Rows& rows,
                  KvRange kv, Checked* checked) {
  const uint8_t* first = &cells[rows.first * analysis.shape().kv_len + kv.begin];
  const auto cell = [&](int64_t r, int64_t c) { return first[r * analysis.shape().kv_len + c]; };
  for (int64_t height = 1; height <= rows.count; ++height) {
    for (int64_t width = 1; width <= kv.size(); ++width) {
      if (rows.count % height != 0 || kv.size() % width != 0) continue;
      if (!analysis.Repeats(rows, kv, height, width)) continue;
      bool mixed = false;
      for (int64_t r = 0; r < rows.count; ++r) {
        for (int64_t c = 0; c < kv.size(); ++c) {
          mixed |= cell(r, c) != cell(0, 0);
          ASSERT_EQ(cell(r % height, c % width), cell(r, c))
              << "rows " << rows.first << " + " << r << " kv " << kv.begin << " + " << c
              << " in tiles of " << height << " x " << width;
        }
      }
      checked->repeating += mixed && height * width < rows.count * kv.size();
    }
  }
}

// Checks every answer for every rectangle of one mask.
void CheckMask(const Mask& mask, Checked* checked) {
  SCOPED_TRACE(ToString(mask));
  const Shape shape = mask.shape();
  const std::vector<uint8_t> cells = NaiveCells(mask);
  const auto analysis = Analyze(mask);
  // Rectangles of equal size and key must hold equal cells.
  std::map<std::pair<std::pair<int64_t, int64_t>, RectKey>, std::string> content;
  for (int64_t q0 = 0; q0 < shape.q_len; ++q0) {
    for (int64_t q1 = q0 + 1; q1 <= shape.q_len; ++q1) {
      for (int64_t k0 = 0; k0 < shape.kv_len; ++k0) {
        for (int64_t k1 = k0 + 1; k1 <= shape.kv_len; ++k1) {
          const Rows rows{q0, q1 - q0, 1};
          const KvRange kv{k0, k1};
          const RectClass found = analysis->Classify(rows, kv);
          if (found == RectClass::kUnknown) {
            ++checked->unknown;
          } else {
            ++checked->known;
            ASSERT_EQ(ClassOf(cells, shape, rows, kv), found)
                << "rows " << q0 << ".." << q1 << " kv " << k0 << ".." << k1;
          }
          CheckRepeats(*analysis, cells, rows, kv, checked);
          RectKey key;
          if (!analysis->AppendKey(rows, kv, &key)) {
            ++checked->keyless;
            continue;
          }
          ++checked->keyed;
          const std::string text = CellsOf(cells, shape, rows, kv);
          const auto [entry, inserted] = content.try_emplace({{q1 - q0, k1 - k0}, key}, text);
          ASSERT_EQ(entry->second, text)
              << "rows " << q0 << ".." << q1 << " kv " << k0 << ".." << k1;
        }
      }
    }
  }
  Runs runs;
  for (int64_t k0 = 0; k0 < shape.kv_len; ++k0) {
    for (int64_t k1 = k0 + 1; k1 <= shape.kv_len; ++k1) {
      std::vector<int64_t> q(static_cast<size_t>(shape.q_len));
      std::iota(q.begin(), q.end(), 0);
      std::vector<uint64_t> words(q.size(), ~uint64_t{0});
      analysis->Draw(q, {k0, k1}, {words.data(), 1});
      for (int64_t row = 0; row < shape.q_len; ++row) {
        uint64_t expected = 0, from_runs = 0;
        for (int64_t c = k0; c < k1; ++c) {
          expected |= uint64_t{cells[row * shape.kv_len + c]} << (c - k0);
        }
        analysis->ReadRuns(row, {k0, k1}, &runs);
        int64_t end = -1;
        for (const Run& run : runs) {
          ASSERT_LT(end, run.begin) << "runs must be sorted and apart";
          ASSERT_LT(run.begin, run.end);
          end = run.end;
          for (int64_t c = run.begin; c < run.end; ++c) from_runs |= uint64_t{1} << (c - k0);
        }
        ASSERT_EQ(expected, words[row]) << "row " << row << " kv " << k0 << ".." << k1;
        ASSERT_EQ(expected, from_runs) << "row " << row << " kv " << k0 << ".." << k1;
      }
    }
  }
}

TEST(AnalysisTest, EveryLeafOverEveryRectangle) {
  Checked checked;
  for (Shape shape : {Shape{7, 7}, Shape{5, 9}, Shape{9, 4}, Shape{1, 6}, Shape{6, 1}}) {
    for (const Mask& mask : SmallLeaves(shape)) {
      CheckMask(mask, &checked);
      if (HasFatalFailure()) return;
    }
  }
  // An analytic leaf always knows, and has a key.
  EXPECT_EQ(0, checked.unknown);
  EXPECT_GT(checked.known, 1'000'000);
  EXPECT_EQ(0, checked.keyless);
  EXPECT_GT(checked.repeating, 50'000);
}

TEST(AnalysisTest, RandomExpressionsWithArraysAndOrders) {
  Checked checked;
  for (uint64_t seed = 0; seed < SampleSize(1500); ++seed) {
    std::mt19937_64 random(seed);
    const Shape shape{static_cast<int64_t>(random() % 9 + 1),
                      static_cast<int64_t>(random() % 9 + 1)};
    SCOPED_TRACE("seed " + std::to_string(seed));
    CheckMask(RandomMask(random, shape, static_cast<int>(random() % 4)), &checked);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(checked.known, checked.unknown);
  EXPECT_GT(checked.keyed, 0);
}

// Predicates of the kinds that people write, and what intervals and keys make of them.
std::vector<Mask> Predicates(Shape shape) {
  std::vector<Mask> masks;
  for (const char* predicate : {"q >= kv",
                                "q >= kv and (q - kv) % 4 < 2",
                                "kv // 3 <= q // 3",
                                "abs(q - kv) * 3 < kv",
                                "abs(q // 3 - kv // 3) <= 1 and abs(q % 3 - kv % 3) <= 1",
                                "q * kv % 5 == 2",
                                "(q + kv) % 3 == 0 or q == kv",
                                "min(q, kv) // 2 == max(q, kv) // 3",
                                "0 <= q - kv < 4 or kv < 2",
                                "q // (kv + 1) == 1",
                                "kv % (q + 2) < 2",
                                "q_len - q > kv",
                                "not (q < 4 and kv > 2)",
                                "q % -4 == -(kv % 4)",
                                "-q // 3 == -kv // 3",
                                "(q - kv) * (q - kv) < 9",
                                "abs(q % 7 - 3) < kv % 5",
                                "max(q - kv, 0) % 3 == 1",
                                "q * 3000000000 // 3000000000 == kv",
                                "(q - kv) * 5000000000 % 15000000000 > kv",
                                "q < kv_len and kv < q_len"}) {
    masks.push_back(Mask::Where(shape, predicate));
  }
  return masks;
}

TEST(AnalysisTest, PredicatesOverEveryRectangle) {
  Checked checked;
  for (Shape shape : {Shape{12, 12}, Shape{5, 9}, Shape{2, 14}, Shape{14, 3}}) {
    for (const Mask& mask : Predicates(shape)) {
      CheckMask(mask, &checked);
      CheckMask(mask.Reorder(Positions::FromArray(Array::FromVector(Strided(shape.q_len, 3)))),
                &checked);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(checked.known, 1000);
  EXPECT_EQ(checked.keyless, 0);
}

// Columns of every step, forwards, backwards and repeated, beside rows that are so, too.
TEST(AnalysisTest, OrdersOfColumns) {
  Checked checked;
  const Shape shape{9, 12};
  std::vector<Mask> masks = SmallLeaves(shape), predicates = Predicates(shape);
  masks.insert(masks.end(), predicates.begin(), predicates.end());
  const Positions backwards = Positions::FromArray(Array::FromVector(Strided(shape.q_len, -1)));
  for (int64_t step : {-5, -2, -1, 0, 1, 2, 3, 7}) {
    const Positions kv = Positions::FromArray(Array::FromVector(Strided(shape.kv_len, step)));
    for (size_t i = 0; i < masks.size(); i += 53 * 8 / SampleSize(8)) {
      CheckMask(masks[i].Reorder(std::nullopt, kv), &checked);
      CheckMask(masks[i].Reorder(backwards, kv), &checked);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(checked.known, checked.unknown);
  EXPECT_GT(checked.keyed, checked.keyless);
}

// Long axes, so that orders are cut into many parts, near and far apart.
TEST(AnalysisTest, LongOrdersOfColumns) {
  const Shape shape{3, 700};
  for (uint64_t seed = 0; seed < SampleSize(120); ++seed) {
    std::mt19937_64 random(seed);
    std::vector<int64_t> positions(static_cast<size_t>(shape.kv_len));
    const int64_t piece = static_cast<int64_t>(random() % (seed % 3 == 0 ? 700 : 90) + 1);
    for (int64_t begin = 0; begin < shape.kv_len; begin += piece) {
      int64_t first = static_cast<int64_t>(random() % 700);
      if (seed % 5 == 0) first *= int64_t{1} << 40;
      const int64_t step = static_cast<int64_t>(random() % 5) - 2;
      for (int64_t i = begin; i < std::min(shape.kv_len, begin + piece); ++i) {
        positions[i] = std::clamp(first + step * (i - begin), -kMostKvPosition, kMostKvPosition);
      }
    }
    const Positions kv = Positions::FromArray(Array::FromVector(positions));
    const Mask mask = ((Mask::Local(shape, 300, 100, 250) | ~Mask::Stride(shape, 3)) ^
                       Mask::Where(shape, "kv // 60 % 2 == q % 2"))
                          .Reorder(std::nullopt, kv);
    const auto analysis = Analyze(mask);
    for (int64_t q = 0; q < shape.q_len; ++q) {
      const KvRange range{static_cast<int64_t>(seed % 63), 700 - static_cast<int64_t>(seed % 50)};
      std::vector<uint64_t> words(static_cast<size_t>(WordsFor(range.size())), ~uint64_t{0});
      analysis->Draw({&q, 1}, range, {words.data(), std::ssize(words)});
      Runs runs;
      analysis->ReadRuns(q, range, &runs);
      size_t run = 0;
      for (int64_t c = range.begin; c < range.end; ++c) {
        while (run < runs.size() && runs[run].end <= c) ++run;
        const bool expected = NaiveAt(mask, q, c),
                   drawn = words[(c - range.begin) / 64] >> ((c - range.begin) % 64) & 1;
        ASSERT_EQ(drawn, expected) << "seed " << seed << " at " << q << ", " << c;
        ASSERT_EQ(run < runs.size() && runs[run].begin <= c, expected) << "seed " << seed;
      }
    }
  }
}

// Strided and reversed rows keep their answers exact where the analysis gives one.
TEST(AnalysisTest, OrdersOfEveryStep) {
  Checked checked;
  const Shape shape{12, 12};
  std::vector<Mask> masks = SmallLeaves(shape);
  for (int64_t step : {-5, -2, -1, 0, 2, 3, 7}) {
    const Positions q = Positions::FromArray(Array::FromVector(Strided(shape.q_len, step)));
    for (size_t i = 0; i < masks.size(); i += 29 * 8 / SampleSize(8)) {
      CheckMask(masks[i].Reorder(q), &checked);
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_GT(checked.known, 10 * checked.unknown);
}

TEST(AnalysisTest, PositionsAndOffsetsAtTheEndsOf64Bits) {
  const Shape shape{6, 5};
  const std::vector<int64_t> extremes = {INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX - 1, INT64_MAX};
  const Positions q = Positions::FromArray(Array::FromVector(extremes));
  Checked checked;
  for (int64_t offset :
       {INT64_MIN, INT64_MIN + 3, int64_t{-1}, int64_t{0}, int64_t{2}, INT64_MAX - 3, INT64_MAX}) {
    for (const Mask& mask :
         {Mask::Causal(shape, offset), Mask::Local(shape, offset, 1, 0),
          Mask::Local(shape, 1, offset, 0), Mask::Local(shape, offset, offset, offset),
          Mask::Local(shape, std::nullopt, offset, offset), Mask::QRange(shape, offset, INT64_MAX),
          Mask::ChunkedCausal(shape, std::max<int64_t>(1, offset)), Mask::Prefix(shape, offset),
          Mask::Stride(shape, std::max<int64_t>(3, offset), 2), Mask::Documents(shape, {2, 2})}) {
      CheckMask(mask, &checked);
      CheckMask(mask.Reorder(q), &checked);
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace splashmask
