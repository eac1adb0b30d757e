// SPDX-License-Identifier: Apache-2.0
#pragma once
// Arrays for tests of attention: seeded random numbers behind any strides.

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "splashmask/kernels/tensor.h"

namespace splashmask {

enum class Layout : uint8_t { kHeadsLengthDim, kLengthHeadsDim, kHeadsDimLength };

/// A tensor that owns its memory.
struct OwnedTensor {
  std::shared_ptr<std::vector<std::byte>> bytes;
  Tensor view;
};

inline OwnedTensor MakeTensor(FloatType type, Layout layout, int64_t batch, int64_t heads,
                              int64_t length, int64_t dim) {
  OwnedTensor tensor;
  tensor.bytes = std::make_shared<std::vector<std::byte>>(
      static_cast<size_t>(batch * heads * length * dim * FloatSize(type)));
  tensor.view = Tensor::Contiguous(tensor.bytes->data(), type, batch, heads, length, dim);
  if (layout == Layout::kLengthHeadsDim) {
    tensor.view.strides.heads = dim;
    tensor.view.strides.length = heads * dim;
  } else if (layout == Layout::kHeadsDimLength) {
    tensor.view.strides.length = 1;
    tensor.view.strides.dim = length;
  }
  return tensor;
}

/// Calls set(value to store) for every element.
template <typename Value>
void Fill(const Tensor& tensor, Value value) {
  for (int64_t b = 0; b < tensor.batch; ++b) {
    for (int64_t h = 0; h < tensor.heads; ++h) {
      for (int64_t i = 0; i < tensor.length; ++i) {
        for (int64_t d = 0; d < tensor.dim; ++d) tensor.Set(b, h, i, d, value());
      }
    }
  }
}

inline OwnedTensor RandomTensor(std::mt19937_64& random, FloatType type, Layout layout,
                                int64_t batch, int64_t heads, int64_t length, int64_t dim,
                                float scale = 1) {
  OwnedTensor tensor = MakeTensor(type, layout, batch, heads, length, dim);
  std::normal_distribution<float> normal(0, scale);
  Fill(tensor.view, [&] { return normal(random); });
  return tensor;
}

}  // namespace splashmask
