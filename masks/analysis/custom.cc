// SPDX-License-Identifier: Apache-2.0
// A custom function: nothing is known of it but what its classifier says, its runs if it has them,
// and its cells.

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/analysis/runs.h"
#include "splashmask/masks/custom_function.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

// The answer of a function's classifier, held against some of its cells in debug builds.
class CheckedClassifier {
 public:
  explicit CheckedClassifier(const CustomFunction& function) : function_(function) {}

  RectClass Classify(const Rows& rows, KvRange kv) const {
    if (rows.max() == INT64_MAX) return RectClass::kUnknown;
    const std::optional<bool> all =
        function_.Classify(rows.min(), rows.max() + 1, kv.begin, kv.end);
    if (!all) return RectClass::kUnknown;
#ifndef NDEBUG
    Check(rows, kv, *all);
#endif
    return *all ? RectClass::kFull : RectClass::kEmpty;
  }

 private:
#ifndef NDEBUG
  // The corners, and a few cells between them.
  void Check(const Rows& rows, KvRange kv, bool all) const {
    constexpr int64_t kSamples = 4;
    for (int64_t i = 0; i <= kSamples; ++i) {
      const int64_t q = rows.first + (rows.count - 1) * i / kSamples * rows.step;
      for (int64_t j = 0; j <= kSamples; ++j) {
        CheckCell(rows, kv, all, q,
                  kv.begin + (kv.size() - 1) * ((i + j) % (kSamples + 1)) / kSamples);
      }
    }
  }

  void CheckCell(const Rows& rows, KvRange kv, bool all, int64_t q, int64_t column) const {
    std::byte cell{};
    function_.Evaluate({&q, 1}, column, column + 1, &cell);
    if ((cell != std::byte{0}) == all) return;
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("[custom] expected the classifier of {} to agree with its cells, but it "
                    "says that {} of q {}..{} and kv {}..{} attends, and ({}, {}) does{}",
                    function_.name(), all ? "every cell" : "no cell", rows.min(), rows.max() + 1,
                    kv.begin, kv.end, q, column, all ? " not" : ""));
  }
#endif

  const CustomFunction& function_;
};

class CustomAnalysis final : public Analysis {
 public:
  CustomAnalysis(Shape shape, std::shared_ptr<const CustomFunction> function)
      : Analysis(shape), function_(std::move(function)), classifier_(*function_) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    return classifier_.Classify(rows, kv);
  }
  bool AppendKey(const Rows&, KvRange, RectKey*) const override { return false; }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    std::vector<uint64_t> bits(static_cast<size_t>(WordsFor(kv.size())));
    Draw({&q, 1}, kv, {bits.data(), WordsFor(kv.size())});
    AppendRunsOfBits(bits.data(), kv.size(), kv.begin, runs);
  }

  // Drawing whole rectangles takes the fewest calls.
  double RunsPerRow() const override { return static_cast<double>(shape().kv_len); }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    std::vector<std::byte> cells(q.size() * static_cast<size_t>(kv.size()));
    function_->Evaluate(q, kv.begin, kv.end, cells.data());
    for (int64_t r = 0; r < std::ssize(q); ++r) {
      PackBools(cells.data() + r * kv.size(), kv.size(), out.row(r));
    }
  }

 private:
  std::shared_ptr<const CustomFunction> function_;
  CheckedClassifier classifier_;
};

// A function that gives the runs of its rows: bits are drawn from them.
class RunsAnalysis final : public Analysis {
 public:
  RunsAnalysis(Shape shape, std::shared_ptr<const CustomFunction> function)
      : Analysis(shape), function_(std::move(function)), classifier_(*function_) {
    Runs runs;
    for (const int64_t q : {int64_t{0}, shape.q_len / 2, shape.q_len - 1}) {
      ReadRuns(q, {0, shape.kv_len}, &runs);
      runs_per_row_ = std::max(runs_per_row_, static_cast<double>(runs.size()));
    }
  }

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    return classifier_.Classify(rows, kv);
  }
  bool AppendKey(const Rows&, KvRange, RectKey*) const override { return false; }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    std::vector<KvRun> given;
    function_->ReadRuns(q, &given);
    int64_t least = 0;
    for (const KvRun& run : given) {
      if (run.begin < least || run.begin >= run.end || run.end > shape().kv_len) Refuse(q, run);
      least = run.end;
      const int64_t begin = std::max(run.begin, kv.begin), end = std::min(run.end, kv.end);
      if (begin < end) AppendRun({begin, end}, runs);
    }
  }

  double RunsPerRow() const override { return runs_per_row_; }

  // Whole block rows at a time: a function is asked once for each row, not for each block.
  bool Scattered(int64_t, int64_t) const override { return true; }

 private:
  [[noreturn]] void Refuse(int64_t q, const KvRun& run) const {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("[custom] expected {} to give ascending runs inside 0..{}, got {}..{} in "
                    "the row at {}",
                    function_->name(), shape().kv_len, run.begin, run.end, q));
  }

  std::shared_ptr<const CustomFunction> function_;
  CheckedClassifier classifier_;
  double runs_per_row_ = 1;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeCustom(const Mask& mask) {
  const auto& function = std::get<node::Custom>(mask.node().expr).function;
  if (function->has_runs()) return std::make_unique<RunsAnalysis>(mask.shape(), function);
  return std::make_unique<CustomAnalysis>(mask.shape(), function);
}

}  // namespace splashmask
