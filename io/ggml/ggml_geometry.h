// SPDX-License-Identifier: Apache-2.0
#pragma once
// The shape of the model that a ggml graph computes, as far as attention and memory go.

#include <cstdint>
#include <optional>
#include <vector>

#include "splashmask/io/ggml/ggml_listing.h"

namespace splashmask {

/// A model of equal layers, at one step.
struct ModelGeometry {
  int64_t layers = 0;
  int64_t heads = 0;       ///< Of q.
  int64_t kv_heads = 0;    ///< Divides heads.
  int64_t head_dim = 0;    ///< Of q and k.
  int64_t head_dim_v = 0;  ///< Of v.
  int64_t q_len = 0;       ///< Tokens of this step.
  int64_t kv_len = 0;      ///< Cached positions that attention looks at; ggml pads them.
  int64_t context = 0;     ///< Positions that the cache has room for.
  int64_t embedding = 0;
  int64_t vocabulary = 0;
  std::optional<int64_t> feed_forward;      ///< None where layers have no dense feed-forward part.
  int64_t weight_bytes = 0;                 ///< Every weight and bias once.
  std::vector<int64_t> layer_weight_bytes;  ///< Of each layer; they may differ in quantization.
  int64_t cache_bytes = 0;                  ///< Keys and values of all layers.
};

/// Reads the geometry off the nodes kq-N and kqv-N, their caches, and the shapes of weights under
/// llama.cpp's names. Throws kInvalidArgument when the graph has no attention nodes, when their
/// shapes are not those of attention, and for the first layer that differs from layer 0.
ModelGeometry GeometryOf(const GgmlListing& listing);

}  // namespace splashmask
