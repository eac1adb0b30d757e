// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products of small matrices in float32. Private to kernels/.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace splashmask::trace {

/// Row-major floats[rows][columns] with memory of its own.
struct Matrix {
  int64_t rows = 0, columns = 0;
  std::vector<float> values;

  Matrix() = default;
  Matrix(int64_t the_rows, int64_t the_columns) { Resize(the_rows, the_columns); }
  /// Zeros.
  void Resize(int64_t the_rows, int64_t the_columns) {
    rows = the_rows;
    columns = the_columns;
    values.assign(static_cast<size_t>(rows * columns), 0.0f);
  }
  float* row(int64_t r) { return values.data() + r * columns; }
  const float* row(int64_t r) const { return values.data() + r * columns; }
};

/// sum += a b, and sum += transpose(a) b. The shapes fit.
void AddProduct(const Matrix& a, const Matrix& b, Matrix* sum);
void AddTransposedProduct(const Matrix& a, const Matrix& b, Matrix* sum);

}  // namespace splashmask::trace
