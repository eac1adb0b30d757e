// SPDX-License-Identifier: Apache-2.0
#include "splashmask/python/python_function.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "splashmask/masks/error.h"

namespace splashmask::python {

namespace nb = nanobind;

PythonFunction::PythonFunction(nb::object function, nb::object evaluate, nb::object classify,
                               nb::object key, std::string name, bool computable, bool is_value)
    : objects_(new Objects{std::move(function), std::move(evaluate), std::move(classify),
                           std::move(key)},
               [](const Objects* objects) {
                 const nb::gil_scoped_acquire gil;
                 delete objects;
               }),
      has_classifier_(!objects_->classify.is_none()),
      name_(std::move(name)),
      computable_(computable),
      is_value_(is_value),
      hash_(static_cast<size_t>(nb::hash(objects_->key))) {}

void PythonFunction::Evaluate(std::span<const int64_t> q, int64_t kv_begin, int64_t kv_end,
                              std::byte* out) const {
  const nb::gil_scoped_acquire gil;
  auto copy = std::make_unique<std::vector<int64_t>>(q.begin(), q.end());
  int64_t* data = copy->data();
  const nb::capsule owner(copy.release(), [](void* pointer) noexcept {
    delete static_cast<std::vector<int64_t>*>(pointer);
  });
  const nb::ndarray<nb::numpy, int64_t, nb::ndim<1>> positions(data, {q.size()}, owner);
  using Cells = nb::ndarray<const bool, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
  const auto cells = nb::cast<Cells>(objects_->evaluate(positions, kv_begin, kv_end));
  if (cells.shape(0) != q.size() || static_cast<int64_t>(cells.shape(1)) != kv_end - kv_begin) {
    throw Error(ErrorCode::kInvalidArray, "[mask] " + name_ + " returned another shape");
  }
  std::copy_n(reinterpret_cast<const std::byte*>(cells.data()), cells.size(), out);
}

std::optional<bool> PythonFunction::Classify(int64_t q_begin, int64_t q_end, int64_t kv_begin,
                                             int64_t kv_end) const {
  if (!has_classifier_) return std::nullopt;
  const nb::gil_scoped_acquire gil;
  const nb::object all = objects_->classify(q_begin, q_end, kv_begin, kv_end);
  if (all.is_none()) return std::nullopt;
  const auto type = nb::cast<std::string>(all.type().attr("__name__"));
  if (type != "bool" && type != "bool_") {  // Python's, or NumPy's.
    throw Error(ErrorCode::kInvalidArgument, "[mask] expected classify of " + name_ +
                                                 " to return True, False or None, got " +
                                                 nb::cast<std::string>(nb::repr(all)));
  }
  return nb::cast<bool>(nb::bool_(all));
}

bool PythonFunction::Equals(const CustomFunction& other) const {
  if (this == &other) return true;
  const auto* same_kind = dynamic_cast<const PythonFunction*>(&other);
  if (same_kind == nullptr || computable_ != same_kind->computable_ || hash_ != same_kind->hash_) {
    return false;
  }
  const nb::gil_scoped_acquire gil;
  return objects_->key.equal(same_kind->objects_->key);
}

}  // namespace splashmask::python
