// SPDX-License-Identifier: Apache-2.0
#pragma once
// A Python callable as a custom function.

#include <nanobind/nanobind.h>

#include <memory>
#include <string>

#include "splashmask/masks/custom_function.h"

namespace splashmask::python {

/// The GIL is taken for each call and for nothing else. An exception that the callable raises comes
/// out of whatever asked for cells.
class PythonFunction final : public CustomFunction {
 public:
  /// `evaluate(q, kv_begin, kv_end)` takes int64[n] and returns C-contiguous bool[n, kv_end -
  /// kv_begin]; `classify(q_begin, q_end, kv_begin, kv_end)`, or None, returns True, False or None.
  /// `key` decides equality; `function` is what the user gave. `is_value`: equal keys mean equal
  /// cells, for as long as the program runs.
  PythonFunction(nanobind::object function, nanobind::object evaluate, nanobind::object classify,
                 nanobind::object key, std::string name, bool computable, bool is_value);

  nanobind::object function() const { return objects_->function; }

  void Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                std::byte* out) const override;
  std::optional<bool> Classify(int64_t q_begin, int64_t q_end, int64_t kv_begin,
                               int64_t kv_end) const override;
  bool computable() const override { return computable_; }
  bool is_value() const { return is_value_; }
  std::string name() const override { return name_; }
  bool Equals(const CustomFunction& other) const override;
  size_t Hash() const override { return hash_; }

 private:
  struct Objects {
    nanobind::object function, evaluate, classify, key;
  };

  std::shared_ptr<const Objects> objects_;  // Let go of with the GIL held.
  bool has_classifier_;
  std::string name_;
  bool computable_, is_value_;
  size_t hash_;
};

}  // namespace splashmask::python
