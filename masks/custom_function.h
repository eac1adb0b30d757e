// SPDX-License-Identifier: Apache-2.0
#pragma once
// A mask that only a program can evaluate: derive from CustomFunction, or wrap a callable in
// CellFunction or RunFunction.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace splashmask {

/// A half-open run of kv positions that attend.
struct KvRun {
  int64_t begin = 0, end = 0;
};

/// Derive from this to make a mask of any predicate. Called from many threads at once; what it
/// throws comes out of whatever asked for cells, once, and without a result.
class CustomFunction {
 public:
  virtual ~CustomFunction() = default;

  /// Writes rows of kv_end - kv_begin cells, one byte each (0 or 1): row r holds the cells
  /// (q[r], kv_begin), (q[r], kv_begin + 1), ... `q` and the kv range are not empty.
  virtual void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                        std::byte* out) const = 0;

  /// True when every cell of the q positions [q_begin, q_end) and kv positions [kv_begin, kv_end)
  /// attends, false when none does, nullopt when they differ or nothing is known. Debug builds hold
  /// the answer against some of the cells and throw kInvalidArgument where they differ; Certify
  /// holds the tables against all of them.
  virtual std::optional<bool> Classify(int64_t /*q_begin*/, int64_t /*q_end*/, int64_t /*kv_begin*/,
                                       int64_t /*kv_end*/) const {
    return std::nullopt;
  }

  /// Whether ReadRuns is to be asked instead of Evaluate: for masks whose rows are few long runs.
  virtual bool has_runs() const { return false; }
  /// Appends the runs of the row at position `q`, in ascending order and without overlap, inside
  /// [0, kv_len): anything else throws kInvalidArgument.
  virtual void ReadRuns(int64_t /*q*/, std::vector<KvRun>* /*runs*/) const {}

  /// Whether the kernel can compute it from positions, whatever they are. Otherwise q positions are
  /// rows of the mask.
  virtual bool computable() const { return false; }

  /// What messages and the text form call it; the text cannot be parsed.
  virtual std::string name() const = 0;

  /// Equal functions make equal masks.
  virtual bool Equals(const CustomFunction& other) const { return this == &other; }
  virtual size_t Hash() const { return reinterpret_cast<size_t>(this); }
};

/// What a callable tells of rectangles: as CustomFunction::Classify.
using Classifier = std::function<std::optional<bool>(int64_t q_begin, int64_t q_end,
                                                     int64_t kv_begin, int64_t kv_end)>;

/// Attends where `attends(q, kv)` is true.
class CellFunction final : public CustomFunction {
 public:
  using Attends = std::function<bool(int64_t q, int64_t kv)>;

  CellFunction(std::string name, Attends attends, Classifier classifier = nullptr)
      : name_(std::move(name)), attends_(std::move(attends)), classifier_(std::move(classifier)) {}

  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override;
  std::optional<bool> Classify(int64_t q_begin, int64_t q_end, int64_t kv_begin,
                               int64_t kv_end) const override;
  std::string name() const override { return name_; }

 private:
  std::string name_;
  Attends attends_;
  Classifier classifier_;
};

/// Attends in the runs that `rows(q, &runs)` appends, as CustomFunction::ReadRuns does.
class RunFunction final : public CustomFunction {
 public:
  using RunsOfRow = std::function<void(int64_t q, std::vector<KvRun>* runs)>;

  RunFunction(std::string name, RunsOfRow rows, Classifier classifier = nullptr)
      : name_(std::move(name)), rows_(std::move(rows)), classifier_(std::move(classifier)) {}

  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override;
  std::optional<bool> Classify(int64_t q_begin, int64_t q_end, int64_t kv_begin,
                               int64_t kv_end) const override;
  bool has_runs() const override { return true; }
  void ReadRuns(int64_t q, std::vector<KvRun>* runs) const override { rows_(q, runs); }
  std::string name() const override { return name_; }

 private:
  std::string name_;
  RunsOfRow rows_;
  Classifier classifier_;
};

}  // namespace splashmask
