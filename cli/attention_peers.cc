// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/attention_peers.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <span>
#include <utility>

#include "splashmask/cli/peer_scripts.h"
#include "splashmask/masks/mask_cells.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/memory.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

std::vector<float> Floats(const ConstTensor& tensor) {
  std::vector<float> numbers;
  numbers.reserve(static_cast<size_t>(tensor.batch * tensor.heads * tensor.length * tensor.dim));
  for (int64_t b = 0; b < tensor.batch; ++b) {
    for (int64_t h = 0; h < tensor.heads; ++h) {
      for (int64_t i = 0; i < tensor.length; ++i) {
        for (int64_t d = 0; d < tensor.dim; ++d) numbers.push_back(tensor.At(b, h, i, d));
      }
    }
  }
  return numbers;
}

json::array ShapeOf(const ConstTensor& tensor) {
  return {tensor.batch, tensor.heads, tensor.length, tensor.dim};
}

// The peers have names for some masks.
const char* KindOf(const Mask& mask) {
  const bool is_square = mask.shape().q_len == mask.shape().kv_len;
  if (mask == Mask::Full(mask.shape())) return "full";
  return is_square && mask == Mask::Causal(mask.shape()) ? "causal" : "other";
}

std::string WriteCells(const Peers& peers, std::span<const Mask> masks) {
  const std::string path = (peers.folder() / "cells.bin").string();
  std::ofstream out(path, std::ios::binary);
  const auto [q_len, kv_len] = masks[0].shape();
  std::vector<std::byte> row(static_cast<size_t>(kv_len));
  for (const Mask& mask : masks) {
    const MaskCells cells(mask);
    for (int64_t q = 0; q < q_len; ++q) {
      peers.ThrowIfStopped();
      cells.Read(q, q + 1, 0, kv_len, row.data());
      out.write(reinterpret_cast<const char*>(row.data()),
                static_cast<std::streamsize>(row.size()));
    }
  }
  if (!out.flush()) FailPeers("cannot write " + path);
  return path;
}

}  // namespace

const PeerKinds& AttentionPeers() {
  static const PeerKinds kinds{kAttentionPeersScript,
                               {{"sdpa", "torch SDPA"},
                                {"flex", "torch FlexAttention"},
                                {"jax", "jax.nn.dot_product_attention"}}};
  return kinds;
}

void LoadAttention(Peers& peers, const AttentionCase& of) {
  const std::pair<const char*, const ConstTensor&> arrays[] = {
      {"q", of.inputs.q}, {"k", of.inputs.k}, {"v", of.inputs.v}, {"do", of.d_out}};
  json::array files;
  for (const auto& [name, tensor] : arrays) {
    const std::vector<float> numbers = Floats(tensor);
    files.push_back(
        json::array{peers.WriteFile(name, std::as_bytes(std::span(numbers))), ShapeOf(tensor)});
  }
  const Shape shape = of.mask.shape();
  std::span<const Mask> masks = of.mask.masks();
  const bool is_one = std::ranges::all_of(masks, [&](const Mask& m) { return m == masks[0]; });
  if (is_one) masks = masks.first(1);
  // Peers make floats of the cells.
  const bool has_cells = FitsInMemory(static_cast<ByteCount>(shape.q_len) *
                                      static_cast<ByteCount>(shape.kv_len) * masks.size() * 16);
  peers.Load({{"dtype", of.inputs.q.type == FloatType::kBFloat16 ? "bfloat16" : "float32"},
              {"mask", is_one ? ToString(masks[0]) : ""},
              {"kind", is_one ? KindOf(masks[0]) : "other"},
              {"backward", of.backward},
              {"arrays", files},
              {"cells", has_cells ? json::value(WriteCells(peers, masks)) : json::value(nullptr)}});
}

std::map<std::string, std::vector<float>> ComputeAttention(Peers& peers, const std::string& name) {
  std::map<std::string, std::vector<float>> results;
  const auto files = Answered<std::map<std::string, std::string>>(peers.Tell(name), "files");
  for (const auto& [what, path] : files) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    std::vector<float>& numbers = results[what];
    if (in) numbers.resize(static_cast<size_t>(in.tellg()) / sizeof(float));
    in.seekg(0);
    in.read(reinterpret_cast<char*>(numbers.data()),
            static_cast<std::streamsize>(numbers.size() * sizeof(float)));
    if (!in) FailPeers("cannot read " + path);
  }
  return results;
}

}  // namespace splashmask::cli
