// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/compile/packed_blocks.h"

#include <algorithm>
#include <tuple>

#include "splashmask/masks/analysis/band.h"
#include "splashmask/masks/analysis/bits.h"

namespace splashmask {

namespace {

// Calls visit(block, begin, end) for the pieces into which blocks cut a run.
template <typename Visit>
void ForEachPiece(const Run& run, int64_t block, Visit&& visit) {
  for (int64_t begin = run.begin; begin < run.end;) {
    const int64_t index = begin / block;
    const int64_t end = std::min(run.end, (index + 1) * block);
    visit(index, begin, end);
    begin = end;
  }
}

int64_t CountPieces(std::span<const Run> runs, int64_t block) {
  int64_t pieces = 0;
  for (const Run& run : runs) pieces += (run.end - 1) / block - run.begin / block + 1;
  return pieces;
}

int64_t CountTokens(std::span<const Run> runs) {
  int64_t tokens = 0;
  for (const Run& run : runs) tokens += run.end - run.begin;
  return tokens;
}

}  // namespace

PackedBlocks::PackedBlocks(BlockShape block, int64_t length)
    : block_(block),
      length_(length),
      rows_(length / block.q),
      columns_(length / block.kv),
      words_(WordsFor(columns_)),
      bits_(static_cast<size_t>(rows_ * words_)),
      touched_(static_cast<size_t>(words_)) {}

int64_t PackedBlocks::CountRow(int64_t row) const {
  int64_t count = 0;
  for (int64_t w = 0; w < words_; ++w) count += std::popcount(bits(row)[w]);
  return count;
}

void PackedBlocks::Clear() { std::fill(bits_.begin(), bits_.end(), 0); }

void PackedBlocks::Set(const PackedDocuments& documents, const Distances& distances,
                       std::optional<int32_t> pad) {
  Clear();
  for (int64_t i = 0; i < documents.count(); ++i) {
    if (documents.id(i) == pad) {
      MarkDiagonal(documents.runs(i));
    } else {
      MarkDocument(documents.runs(i), distances);
    }
  }
}

void PackedBlocks::SetWhole(const Distances& distances) {
  Clear();
  const Run all{0, length_};
  MarkDocument({&all, 1}, distances);
}

void PackedBlocks::MarkDiagonal(RunSpan runs) {
  for (const Run& run : runs) {
    ForEachPiece(run, block_.q, [&](int64_t row, int64_t begin, int64_t end) {
      MarkRange(row, begin / block_.kv, (end - 1) / block_.kv);
    });
  }
}

void PackedBlocks::MarkDocument(RunSpan runs, const Distances& distances) {
  for (const Progression& progression : distances) {
    if (progression.step == 1) {
      MarkWindow(runs, runs, progression.first, progression.last);
      continue;
    }
    // Few pieces: ask for each pair. Many, of one or two tokens each: look at single tokens.
    constexpr int64_t kPairsAToken = 4;
    const int64_t pairs = CountPieces(runs, block_.q) * CountPieces(runs, block_.kv);
    if (pairs <= kPairsAToken * CountTokens(runs)) {
      MarkPairs(runs, progression);
    } else {
      MarkResidues(runs, progression);
    }
  }
}

// Marks the pairs whose distance is in [nearest, farthest]. The window that a piece of a q run sees
// is one range of positions, and moves to the right from piece to piece; the blocks it sees are
// those the document touches between the first and the last token inside. O(runs + pieces), and the
// words of the rows.
void PackedBlocks::MarkWindow(RunSpan q_runs, RunSpan kv_runs, int64_t nearest, int64_t farthest) {
  const bool one_run = kv_runs.size() == 1;
  const int64_t first_word = kv_runs.front().begin / block_.kv / 64;
  const int64_t last_word = (kv_runs.back().end - 1) / block_.kv / 64;
  if (!one_run) {
    std::fill(touched_.begin() + first_word, touched_.begin() + last_word + 1, 0);
    int64_t done = -1;
    for (const Run& run : kv_runs) {
      const int64_t last = (run.end - 1) / block_.kv;
      if (last > done) SetBits(touched_.data(), run.begin / block_.kv, last + 1);
      done = last;
    }
  }
  size_t begin_run = 0, end_run = 0;  // kv runs that reach into the window.
  std::tuple<int64_t, int64_t, int64_t> previous{-1, -1, -1};
  for (const Run& q_run : q_runs) {
    ForEachPiece(q_run, block_.q, [&](int64_t row, int64_t begin, int64_t end) {
      const int64_t low = begin - farthest, high = end - 1 - nearest;
      while (begin_run < kv_runs.size() && kv_runs[begin_run].end <= low) ++begin_run;
      while (end_run < kv_runs.size() && kv_runs[end_run].begin <= high) ++end_run;
      if (begin_run >= end_run) return;
      const int64_t first = std::max(low, kv_runs[begin_run].begin) / block_.kv;
      const int64_t last = std::min(high, kv_runs[end_run - 1].end - 1) / block_.kv;
      // Neighbours of scattered documents mostly see the same.
      const std::tuple now{row, first, last};
      if (now == previous) return;
      previous = now;
      if (one_run) {
        MarkRange(row, first, last);
      } else {
        MarkTouched(row, first, last);
      }
    });
  }
}

void PackedBlocks::MarkPairs(RunSpan runs, const Progression& distances) {
  const auto visit_q = [&](int64_t row, int64_t q_begin, int64_t q_end) {
    for (const Run& kv_run : runs) {
      ForEachPiece(kv_run, block_.kv, [&](int64_t column, int64_t kv_begin, int64_t kv_end) {
        if (Has(row, column)) return;
        if (distances.Meets(q_begin - (kv_end - 1), q_end - 1 - kv_begin)) {
          MarkRange(row, column, column);
        }
      });
    }
  };
  for (const Run& q_run : runs) ForEachPiece(q_run, block_.q, visit_q);
}

// A q sees the kv whose residue differs from its own by that of the distances: the tokens of two
// residues are two lists to which a window applies.
void PackedBlocks::MarkResidues(RunSpan runs, const Progression& distances) {
  const int64_t step = distances.step;
  const auto residue = [step](const Run& token) { return token.begin % step; };
  tokens_.clear();
  for (const Run& run : runs) {
    for (int64_t token = run.begin; token < run.end; ++token) {
      tokens_.push_back({token, token + 1});
    }
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](const Run& a, const Run& b) {
    return std::tuple(residue(a), a.begin) < std::tuple(residue(b), b.begin);
  });
  const auto with_residue = [&](int64_t wanted) {
    return RunSpan(std::ranges::lower_bound(tokens_, wanted, {}, residue),
                   std::ranges::upper_bound(tokens_, wanted, {}, residue));
  };
  for (size_t at = 0; at < tokens_.size();) {
    const int64_t q_residue = residue(tokens_[at]);
    const RunSpan q_tokens = with_residue(q_residue);
    at += q_tokens.size();
    const RunSpan kv_tokens = with_residue(FloorMod(q_residue - distances.first, step));
    if (!kv_tokens.empty()) MarkWindow(q_tokens, kv_tokens, distances.first, distances.last);
  }
}

void PackedBlocks::MarkRange(int64_t row, int64_t first, int64_t last) {
  SetBits(bits(row), first, last + 1);
}

void PackedBlocks::MarkTouched(int64_t row, int64_t first, int64_t last) {
  uint64_t* words = bits(row);
  const int64_t first_word = first / 64, last_word = last / 64;
  for (int64_t w = first_word; w <= last_word; ++w) {
    uint64_t mask = ~uint64_t{0};
    if (w == first_word) mask &= ~uint64_t{0} << (first % 64);
    if (w == last_word) mask &= ~uint64_t{0} >> (63 - last % 64);
    words[w] |= touched_[w] & mask;
  }
}

}  // namespace splashmask
