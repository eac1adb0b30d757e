// SPDX-License-Identifier: Apache-2.0
// A custom function: nothing is known of it but what its classifier says and its cells.

#include <memory>
#include <utility>
#include <vector>

#include "splashmask/masks/analysis/analysis.h"
#include "splashmask/masks/custom_function.h"
#include "splashmask/masks/node.h"

namespace splashmask {

namespace {

class CustomAnalysis final : public Analysis {
 public:
  CustomAnalysis(Shape shape, std::shared_ptr<const CustomFunction> function)
      : Analysis(shape), function_(std::move(function)) {}

  RectClass Classify(const Rows& rows, KvRange kv) const override {
    if (rows.max() == INT64_MAX) return RectClass::kUnknown;
    const std::optional<bool> all =
        function_->Classify(rows.min(), rows.max() + 1, kv.begin, kv.end);
    return !all ? RectClass::kUnknown : *all ? RectClass::kFull : RectClass::kEmpty;
  }
  bool AppendKey(const Rows&, KvRange, RectKey*) const override { return false; }

  void ReadRuns(int64_t q, KvRange kv, Runs* runs) const override {
    runs->clear();
    const std::vector<std::byte> cells = Evaluate({&q, 1}, kv);
    for (int64_t c = 0; c < kv.size(); ++c) {
      if (cells[c] == std::byte{0}) continue;
      if (!runs->empty() && runs->back().end == kv.begin + c) {
        ++runs->back().end;
      } else {
        runs->push_back({kv.begin + c, kv.begin + c + 1});
      }
    }
  }

  // Drawing whole rectangles takes the fewest calls.
  double RunsPerRow() const override { return static_cast<double>(shape().kv_len); }

  void Draw(std::span<const int64_t> q, KvRange kv, BitRows out) const override {
    const std::vector<std::byte> cells = Evaluate(q, kv);
    for (int64_t r = 0; r < std::ssize(q); ++r) {
      PackBools(cells.data() + r * kv.size(), kv.size(), out.row(r));
    }
  }

 private:
  std::vector<std::byte> Evaluate(std::span<const int64_t> q, KvRange kv) const {
    std::vector<std::byte> cells(q.size() * static_cast<size_t>(kv.size()));
    function_->Evaluate(q, kv.begin, kv.end, cells.data());
    return cells;
  }

  std::shared_ptr<const CustomFunction> function_;
};

}  // namespace

std::unique_ptr<const Analysis> AnalyzeCustom(const Mask& mask) {
  return std::make_unique<CustomAnalysis>(mask.shape(),
                                          std::get<node::Custom>(mask.node().expr).function);
}

}  // namespace splashmask
